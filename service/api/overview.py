"""Writes the top of the documentation of the API, from dialects and errors."""

from blockrank_server.service.dialects.registry import DIALECTS
from blockrank_server.service.errors import ServiceError, all_errors

_INTRODUCTION = """\
A request brings a query and a shortlist of documents; the answer ranks them. Speak the dialect your
client already speaks: scores and order are the same in all of them.

A score is the chance that a judge would call the document relevant, where the model's card has a
calibration (`X-Score-Type: probability`); `raw_scores` gives its logit, by which the parts of a
list can be merged. Of other models it is a share of the attention, which compares documents of one
answer only. `min_score` leaves out results below it.

Unknown fields and any model name are accepted. What is cut, replaced or ignored is told in the
header `X-Rerank-Warning` and, in the dialects cohere and infinity, in `meta.warnings`.

    curl localhost:8000/rerank -d '{"query": "capital of France", "documents": ["Berlin", "Paris"]}'

A deadline below the server's own (`request_timeout_ms` of `/info`) can be given in
`X-Request-Timeout-Ms`. 429 and 503 are worth another try, after `Retry-After`; a request that could
not meet its deadline even alone gets 422 at once, with the ways out.

Every answer carries `X-Request-ID`; a ranking carries `X-Model`, `X-Model-Revision`, `X-Score-Type`
and its times in `Server-Timing`.
"""
_DIALECTS = """
## Dialects

On `/rerank` a body is in the first dialect below whose mark it bears. Where that is not the one you
need, use the dialect's own path.
"""
_ERRORS = """
## Errors

All have one flat form, in which each client finds its own field; see the examples of any path.
"""


def overview() -> str:
    """Write the top of the page in Markdown, which lists every dialect and every error."""
    dialects = [f"| {d.name} | {d.peers} | {d.mark} | `{d.path}` |" for d in DIALECTS]
    errors = [
        f"| {kind.status} | {kind.error_type} | {reason_for(kind)} |"
        for kind in sorted(all_errors(), key=lambda kind: kind.status)
    ]
    dialect_table = ["| dialect | of | told by | path of its own |", "|---|---|---|---|", *dialects]
    error_table = ["| status | error_type | when |", "|---|---|---|", *errors]
    return "\n".join([_INTRODUCTION, _DIALECTS, *dialect_table, _ERRORS, *error_table])


def reason_for(kind: type[ServiceError]) -> str:
    """Say when a caller gets an error."""
    return (kind.__doc__ or "").split("\n")[0]
