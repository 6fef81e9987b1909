"""Draws the row that tells how long each stage takes, for each bucket of documents."""

from typing import NamedTuple

from rerank_dashboard.panels import (
    BY_BUCKET,
    SECONDS,
    Panel,
    PanelText,
    Query,
    Row,
    cells,
    lines,
)
from rerank_dashboard.queries import of_bucket, per_second, quantile_by


class _Stage(NamedTuple):
    title: str
    histogram: str
    means: str
    do: str


_STAGES = (
    _Stage(
        "Request",
        "rerank_request_duration_seconds",
        "From the first byte to the last of a 200.",
        "Find the stage below that grew with it; the rest is HTTP, and waiting for the event loop.",
    ),
    _Stage(
        "Queue",
        "rerank_queue_duration_seconds",
        "From accepted to the start of the forward pass.",
        "Longer than inference: more comes than the model can do. Add servers; or lower "
        "max_queue_requests, to refuse early what would be late.",
    ),
    _Stage(
        "Tokenise",
        "rerank_tokenize_duration_seconds",
        "Parsing and tokenising, with the wait for a thread to do it.",
        "More than a few ms for 100 documents: the CPU is short, or num_tokenize_threads too low.",
    ),
    _Stage(
        "Inference",
        "rerank_inference_duration_seconds",
        "The forward pass of the request's batch, mates included.",
        "Slower at the same tokens: look at the device (clock, memory, neighbours), at split "
        "batches, and at what was deployed last.",
    ),
)
_QUANTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))


def row() -> Row:
    """Show a line of panels for each stage, a column for each percentile; then all requests."""
    panels = [_quantile(stage, q, name) for stage in _STAGES for q, name in _QUANTILES]
    return Row("Latency by documents in the request", [*panels, *map(_cells, _STAGES[:2])])


def _quantile(stage: _Stage, q: float, name: str) -> Panel:
    means = f"{stage.means} {name} of each bucket of documents: '10' is 6 to 10 documents."
    return lines(
        PanelText(f"{stage.title}, {name}", means, stage.do),
        SECONDS,
        Query(quantile_by("documents", q, stage.histogram), "{{documents}}"),
        colors=BY_BUCKET,
        is_log=True,
    )


def _cells(stage: _Stage) -> Panel:
    means = f"{stage.means} How many requests took how long; choose buckets of documents above."
    buckets = of_bucket(f"{stage.histogram}_bucket")
    return cells(
        PanelText(
            f"{stage.title}, all times", means, f"Two bands are two kinds of load. {stage.do}"
        ),
        SECONDS,
        per_second(buckets, "le"),
    )
