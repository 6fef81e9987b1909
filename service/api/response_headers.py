"""Says in the headers of a ranking what made it and how long that took."""

from typing import TYPE_CHECKING
from urllib.parse import quote

from blockrank_server.service.dialects.request import RerankResult
from blockrank_server.service.middleware.request_record import RequestRecord

if TYPE_CHECKING:
    from blockrank_server.models.engine.ranker_info import RankerInfo

WARNING_HEADER = "X-Rerank-Warning"
CACHED_HEADER = "X-Cached-Documents"
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))

# The documentation shows these texts. The names from x-compute-type on are TEI's.
DESCRIPTIONS = {
    "X-Model": "Name of the model that made the ranking.",
    "X-Model-Revision": "Commit or checksum of its weights; local for a folder without one.",
    "X-Score-Type": "probability: that the document is relevant. logit: of it. share: of the "
    "largest score there can be, in [0, 1]. raw: the model's own. none: nothing was ranked.",
    "Server-Timing": "tokenize, queue, infer and total, in milliseconds.",
    "x-compute-type": "gpu+optimized or cpu.",
    "x-compute-time": "As x-total-time.",
    "x-compute-characters": "Characters of query and documents.",
    "x-compute-tokens": "Tokens of the whole prompt.",
    "x-total-time": "From the first byte, in whole milliseconds.",
    "x-tokenization-time": "Parsing and tokenising, in whole milliseconds.",
    "x-queue-time": "From accepted to batched, in whole milliseconds.",
    "x-inference-time": "The forward pass, in whole milliseconds.",
    CACHED_HEADER: "Documents that were not computed again, of all; if documents are kept.",
    WARNING_HEADER: "What was cut, replaced or ignored, if anything was.",
}


def response_headers(
    result: RerankResult, record: RequestRecord, info: "RankerInfo"
) -> dict[str, str]:
    """Return header values by the names in DESCRIPTIONS."""
    stages = record.stages()
    whole_ms = {name: str(int(1000 * seconds)) for name, seconds in stages.items()}
    headers = {
        "X-Model": quote(result.model, safe=_PRINTABLE),  # a card's name may be any text
        "X-Model-Revision": info.revision or "local",
        "X-Score-Type": result.score_type,
        "Server-Timing": ", ".join(
            f"{name};dur={1000 * seconds:.2f}" for name, seconds in stages.items()
        ),
        "x-compute-type": "gpu+optimized" if info.device.startswith("cuda") else "cpu",
        "x-compute-time": whole_ms["total"],
        "x-compute-characters": str(result.request.num_characters),
        "x-compute-tokens": str(result.num_tokens),
        "x-total-time": whole_ms["total"],
        "x-tokenization-time": whole_ms["tokenize"],
        "x-queue-time": whole_ms["queue"],
        "x-inference-time": whole_ms["infer"],
    }
    if result.cached is not None:
        headers[CACHED_HEADER] = f"{result.cached.num_documents}/{result.num_documents}"
    if result.warnings:
        headers[WARNING_HEADER] = "; ".join(result.warnings)
    return headers
