"""Draws the row about documents that are kept: how many are known, what they take and save."""

from blockrank_server.service.metrics import CachedShare
from rerank_dashboard.panels import (
    BLUE,
    BYTES,
    COUNT,
    GREEN,
    LIMIT,
    RATE,
    REQUESTS,
    SECONDS,
    SHARE,
    YELLOW,
    Panel,
    Panels,
    PanelText,
    Query,
    Row,
    lines,
)
from rerank_dashboard.queries import of, of_bucket, per_second, quantile_by

_BY_SHARE: dict[str, str] = {
    CachedShare.NONE: BLUE,
    CachedShare.SOME: YELLOW,
    CachedShare.ALL: GREEN,
}
_REQUEST = "rerank_request_duration_seconds"


def row() -> Row:
    """Show how often documents are known, then what they take, then what that saves."""
    quantiles = [_latency(q, name) for q, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))]
    return Row("Kept documents", [*_known(), *_held(), *quantiles])


def _known() -> Panels:
    hits, misses, evictions = (
        of(f"rerank_document_cache_{name}_total") for name in ("hits", "misses", "evictions")
    )
    known, new = per_second(hits), per_second(misses)
    return [
        lines(
            PanelText(
                "Documents known",
                "Share of the documents asked for whose keys and values were kept.",
                "Low while 'Evictions' is high: more memory keeps more. Low without evictions: "
                "documents do not come back, or have just been replaced, or salts keep them apart.",
            ),
            SHARE,
            Query(f"{known} / ({known} + {new}) >= 0", "known"),
            colors={"known": GREEN},
        ),
        lines(
            PanelText(
                "Requests by what was known",
                "Requests answered by 200 a second: none, some or all of their documents were "
                "known.",
                "Much 'some': lists change in part, which saves that part alone.",
            ),
            REQUESTS,
            Query(per_second(of_bucket(f"{_REQUEST}_count"), "cached"), "{{cached}}"),
            colors=_BY_SHARE,
            is_stacked=True,
        ),
        lines(
            PanelText(
                "Evictions",
                "Documents a second that gave way to others.",
                "Normal once the memory is full. With a low share of known documents: give "
                "document_cache_bytes more.",
            ),
            RATE,
            Query(per_second(evictions, "instance"), "{{instance}}"),
        ),
    ]


def _held() -> Panels:
    return [
        lines(
            PanelText(
                "Documents kept",
                "Documents whose keys and values each server holds.",
                "Nothing to do. It falls to nothing when a server restarts.",
            ),
            COUNT,
            Query(of("rerank_document_cache_entries"), "{{instance}}"),
            span=12,
        ),
        lines(
            PanelText(
                "Documents kept, bytes",
                "Bytes that they take on each server, and the bound.",
                "At the bound is where it should be after a while. Far below it for days: "
                "document_cache_bytes can be smaller.",
            ),
            BYTES,
            Query(of("rerank_document_cache_bytes"), "{{instance}}"),
            Query(f"max({of('rerank_document_cache_max_bytes')})", "limit"),
            colors=LIMIT,
            span=12,
        ),
    ]


def _latency(q: float, name: str) -> Panel:
    return lines(
        PanelText(
            f"Request by what was known, {name}",
            "From the first byte to the last of a 200, where none, some or all documents were "
            f"known: {name} of the buckets of documents chosen above.",
            "'all' as slow as 'none': requests wait rather than compute, see 'Queue, p99'.",
        ),
        SECONDS,
        Query(quantile_by("cached", q, _REQUEST), "{{cached}}"),
        colors=_BY_SHARE,
        is_log=True,
    )
