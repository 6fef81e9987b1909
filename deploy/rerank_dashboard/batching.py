"""Draws the row about the queue, the batches made of it, and how busy the model is."""

from collections.abc import Callable

from rerank_dashboard.panels import (
    BLUE,
    COUNT,
    ORANGE,
    RATE,
    RED,
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
from rerank_dashboard.queries import mean, of, per_second, quantile, whole_quantile


def row() -> Row:
    """Show the model, its batches, the queue, and what went wrong."""
    return Row("Batching", [*_model(), *_sizes(), *_queue(), *_accidents()])


def _model() -> Panels:
    return [
        lines(
            PanelText(
                "Model busy",
                "Share of the time each server's model is in a forward pass.",
                "Near 100 % for long: the server is full; add one before the queue grows.",
            ),
            SHARE,
            Query(per_second(of("rerank_model_busy_seconds_total"), "instance"), "{{instance}}"),
            red_above=0.95,
        ),
        lines(
            PanelText(
                "Batches",
                "Forward passes a second.",
                "Many and small under load: the token budget is too small, or lists are long.",
            ),
            RATE,
            Query(per_second(of("rerank_batch_duration_seconds_count")), "batches"),
        ),
        lines(
            PanelText(
                "Batch duration",
                "One forward pass, whatever is in it.",
                "p99 far above p50 at an even fill: something else uses the device.",
            ),
            SECONDS,
            *_quantiles("rerank_batch_duration_seconds"),
        ),
    ]


def _sizes() -> Panels:
    return [
        lines(
            PanelText(
                "Requests per batch",
                "How many requests share a forward pass.",
                "1 under load: requests are as large as the budget (max_batch_tokens), or "
                "max_wait_ms is 0.",
            ),
            COUNT,
            *_quantiles("rerank_batch_requests", whole_quantile),
            Query(mean("rerank_batch_requests"), "mean"),
        ),
        lines(
            PanelText(
                "Tokens per batch",
                "Tokens in a forward pass.",
                "Far below max_batch_tokens while the queue is long: report it, batches should be "
                "full then.",
            ),
            COUNT,
            *_quantiles("rerank_batch_tokens", whole_quantile),
            Query(mean("rerank_batch_tokens"), "mean"),
        ),
        lines(
            PanelText(
                "Batch fill",
                "Tokens of a batch over the token budget. In the percentiles, more than it counts "
                "as 100 %.",
                "Low is normal at low load. Low with a queue: see 'Tokens per batch'.",
            ),
            SHARE,
            *_quantiles("rerank_batch_fill_ratio"),
            Query(mean("rerank_batch_fill_ratio"), "mean"),
        ),
    ]


def _queue() -> Panels:
    return [
        lines(
            PanelText(
                "Queue, requests",
                "Requests waiting on each server.",
                "Growing: more comes than goes. Add servers before the limit is reached.",
            ),
            COUNT,
            Query(of("rerank_queue_requests"), "{{instance}}"),
            span=6,
        ),
        lines(
            PanelText(
                "Queue, tokens",
                "Tokens of the requests waiting on each server.",
                "Many with few requests: somebody sends very long lists.",
            ),
            COUNT,
            Query(of("rerank_queue_tokens"), "{{instance}}"),
            span=6,
        ),
        lines(
            PanelText(
                "Predicted wait",
                "How long a request accepted now would wait on each server.",
                "Near callers' deadlines: requests will be late. Add servers, or refuse earlier by "
                "a lower max_queue_tokens.",
            ),
            SECONDS,
            Query(of("rerank_predicted_wait_seconds"), "{{instance}}"),
            span=6,
        ),
        _queue_of_limits(),
    ]


def _queue_of_limits() -> Panel:
    parts = (
        ("rerank_queue_requests", "rerank:queue_limit:requests", "requests"),
        ("rerank_queue_tokens", "rerank:queue_limit:tokens", "tokens"),
        ("rerank_predicted_wait_seconds", "rerank:deadline:seconds", "wait"),
    )
    return lines(
        PanelText(
            "Queue, share of its limits",
            "Requests and tokens waiting over what may wait, and the predicted wait over the "
            "deadline, on the fullest server. The limits stand in objectives.yml.",
            "Over 80 %, or over 30 % for the wait: RerankQueueNearLimit. At 100 %, or 50 % for "
            "the wait, callers get 429.",
        ),
        SHARE,
        *(Query(f"max({of(used)}) / scalar({limit})", name) for used, limit, name in parts),
        red_above=0.8,
        span=6,
    )


def _accidents() -> Panels:
    return [
        lines(
            PanelText(
                "Batches with an incident",
                "failed: the forward pass raised. split: it ran out of memory and was done in "
                "halves. preempting: it ran between the steps of a longer one. aborted: its "
                "callers had all gone, and it was ended between two steps.",
                "failed: RerankBatchFailures, the traceback is in the log. split: lower "
                "max_batch_tokens. preempting is no fault. aborted: as client_gone and deadline "
                "beside this.",
            ),
            RATE,
            Query(per_second(of("rerank_batch_incidents_total"), "kind"), "{{kind}}"),
            colors={"failed": RED, "split": ORANGE, "preempting": BLUE, "aborted": YELLOW},
            span=12,
        ),
        lines(
            PanelText(
                "Accepted but not run to the end",
                "client_gone: the caller left while its request waited, or was the last of its "
                "batch to leave. deadline: it would have been too late.",
                "deadline: the queue is too long for the deadline. client_gone: callers wait "
                "shorter than they say; have them send X-Request-Timeout-Ms.",
            ),
            RATE,
            Query(per_second(of("rerank_dropped_total"), "reason"), "{{reason}}"),
            colors={"client_gone": YELLOW, "deadline": RED},
            span=12,
        ),
    ]


def _quantiles(histogram: str, query: Callable[[float, str], str] = quantile) -> tuple[Query, ...]:
    return (
        Query(query(0.5, histogram), "p50"),
        Query(query(0.95, histogram), "p95"),
        Query(query(0.99, histogram), "p99"),
    )
