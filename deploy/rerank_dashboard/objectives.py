"""Draws the row that tells whether what was promised is kept."""

from rerank_dashboard.panels import (
    BLUE,
    BY_BUCKET,
    COUNT,
    GREEN,
    ORANGE,
    RED,
    REQUESTS,
    SHARE,
    Panel,
    Panels,
    PanelText,
    Query,
    Row,
    lines,
    number,
)
from rerank_dashboard.queries import of, recorded

_LEFT = ((None, RED), (0.0, ORANGE), (0.25, GREEN))
_BAD = f"sum(sum_over_time({recorded('job:rerank_bad_requests:rate5m')}[30d]))"
_VALID = f"sum(sum_over_time({recorded('job:rerank_valid_requests:rate5m')}[30d]))"
_FAST = "sum by (documents) (sum_over_time(" + (
    f"{recorded('job_documents:rerank_fast_requests:rate5m')}[30d]))"
)
_ANSWERED = "sum by (documents) (sum_over_time(" + (
    f"{recorded('job_documents:rerank_answered_requests:rate5m')}[30d]))"
)
_AVAILABILITY = "(1 - scalar(rerank:availability_objective:ratio))"
_LATENCY = "(1 - scalar(rerank:latency_objective:ratio))"


def row() -> Row:
    """Show the numbers first, then what moves them."""
    return Row("Objectives", [*_now(), *_budgets(), *_burns(), _p99_of_threshold()])


def _now() -> Panels:
    return [
        number(
            PanelText(
                "Servers ready",
                "Servers that take requests.",
                "Fewer than you run: see 'Ready' in the last row, and RerankDown, RerankNotReady.",
            ),
            COUNT,
            Query(f"sum({of('rerank_ready')})", "ready"),
            steps=((None, RED), (1, GREEN)),
        ),
        number(
            PanelText(
                "Goodput",
                "Requests answered within the threshold of their bucket, a second, over 5 minutes.",
                "Much below the requests in 'Traffic': requests fail, are refused or are slow.",
            ),
            REQUESTS,
            Query(f"sum({recorded('job:rerank_goodput:rate5m')})", "goodput"),
        ),
        number(
            PanelText(
                "Model",
                "What is served: model, revision, dtype, device, attention, quantization.",
                "More than one name after a roll-out: a server still runs the old one.",
            ),
            COUNT,
            Query(
                f"count by (model, revision, dtype, device, attention, quantization) "
                f"({of('rerank_model_info')})",
                "{{model}} {{revision}} {{dtype}} {{device}} {{attention}} {{quantization}}",
            ),
            steps=((None, BLUE),),
            is_name=True,
        ),
    ]


def _budgets() -> Panels:
    return [
        number(
            PanelText(
                "Availability, 30 days",
                "Share of valid requests answered by 200, not by 424, 5xx or 429 for overload.",
                "Below the objective: no risky changes until the budget is back.",
            ),
            SHARE,
            Query(f"1 - {_BAD} / {_VALID}", "availability"),
        ),
        number(
            PanelText(
                "Availability budget left, 30 days",
                "What is left of the requests that may fail: 100 % is all, below 0 % is overspent.",
                "Below 25 %: find what spends it in 'Errors by reason', mend that first.",
            ),
            SHARE,
            Query(f"1 - {_BAD} / {_VALID} / {_AVAILABILITY}", "left"),
            steps=_LEFT,
        ),
        number(
            PanelText(
                "Latency budget left, worst bucket",
                "What is left, of 30 days, of the answers that may be slower than their threshold, "
                "in the bucket of documents that has the least left.",
                "Below 25 %: see which bucket burns, below, and 'Latency' for the stage at fault.",
            ),
            SHARE,
            Query(f"min(1 - (1 - {_FAST} / {_ANSWERED}) / {_LATENCY})", "left"),
            steps=_LEFT,
        ),
    ]


def _burns() -> Panels:
    windows = ("5m", "30m", "1h", "6h")
    return [
        lines(
            PanelText(
                "Availability budget, speed of use",
                "How fast the budget goes, by window. 1 spends just all of it in 30 days.",
                "Over 14.4 in 1h and 5m somebody is called (RerankAvailabilityBurnFast), over 6 in "
                "6h and 30m it is for today. The reason stands in 'Errors by reason'.",
            ),
            COUNT,
            *(
                Query(f"max({recorded(f'job:rerank_availability:burn{window}')})", window)
                for window in windows
            ),
            red_above=14.4,
        ),
        lines(
            PanelText(
                "Latency budget, speed of use over 1 h",
                "How fast each bucket of documents spends the answers that may be slow.",
                "Over 14.4 somebody is called (RerankLatencyBurnFast). 'Latency' says which stage.",
            ),
            COUNT,
            Query(
                f"max by (documents) ({recorded('job_documents:rerank_latency:burn1h')}) >= 0",
                "{{documents}}",
            ),
            colors=BY_BUCKET,
            red_above=14.4,
        ),
    ]


def _p99_of_threshold() -> Panel:
    p99 = recorded(
        "job_documents:rerank_request_duration_seconds:quantile_rate5m", 'quantile="0.99"'
    )
    return lines(
        PanelText(
            "p99 as a share of its threshold",
            "99th percentile of 5 minutes over the threshold of its bucket of documents: buckets "
            "of all lengths on one scale.",
            "Above 100 % for long: less load, more servers, or thresholds that fit the hardware "
            "(objectives.yml).",
        ),
        SHARE,
        Query(
            f"max by (documents) ({p99}) "
            "/ on (documents) max by (documents) (rerank:latency_objective:seconds) >= 0",
            "{{documents}}",
        ),
        colors=BY_BUCKET,
        red_above=1.0,
    )
