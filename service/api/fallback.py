"""Answers with the order that was given, where ranking fails and the caller asked for that.

A search goes on with what its first stage found. What fails is counted and logged as if the error
had been sent: nothing is hidden from who runs the server.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import orjson
from starlette.requests import Request
from starlette.responses import Response

from blockrank_server.service.api.dialect_body import read_body_of_dialect
from blockrank_server.service.api.response_headers import WARNING_HEADER
from blockrank_server.service.dialects.base import Dialect
from blockrank_server.service.dialects.request import RerankResult, rank
from blockrank_server.service.errors import ServiceError
from blockrank_server.service.middleware.request_record import RequestRecord

# Too busy, no model yet or no more, too late.
_STATUSES = frozenset({429, 503, 504})
_NOBODY = "none"  # in place of the model's name


async def input_order(
    request: Request, dialects: Sequence[type[Dialect]], error: ServiceError
) -> Response | None:
    """Return the list in the order given, with a warning that tells the error; or None.

    None says that the caller did not ask, that the body has not come, or that another try would
    fail likewise.

    Args:
        request: its state has the body, if that was read.
        dialects: those that are spoken on its path.
    """
    raw: bytes | None = getattr(request.state, "body", None)
    # A body that does not ask is not parsed: refusing must stay cheap.
    if error.status not in _STATUSES or raw is None or b'"input_order"' not in raw:
        return None
    return await asyncio.to_thread(_answer, request, raw, dialects, error)


def _answer(
    request: Request, raw: bytes, dialects: Sequence[type[Dialect]], error: ServiceError
) -> Response | None:
    record: RequestRecord = request.state.record
    try:
        body = read_body_of_dialect(raw, request.headers, dialects)
        dialect = body.dialect.read(body.fields)
        asked = dialect.request()
    except ServiceError:
        return None  # the first error is the one to tell
    if asked.fallback is None:
        return None
    record.reason, record.failed_status = error.reason, error.status
    record.dialect, record.num_documents = dialect.name, len(asked.documents)
    warning = f"not ranked, in input order: {error}"
    result = RerankResult(
        request=replace(asked, explain=False),
        request_id=record.request_id,
        ranking=tuple(rank([0.0] * len(asked.documents), top_n=asked.top_n)),
        model=_NOBODY,
        score_type="none",
        warnings=(warning,),
    )
    headers = error.headers() | {"X-Score-Type": result.score_type, WARNING_HEADER: warning}
    content = orjson.dumps(dialect.render(result))
    return Response(content, headers=headers, media_type="application/json")
