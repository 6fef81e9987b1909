"""Draws the row about what comes in, and what is scored."""

from rerank_dashboard.panels import (
    BY_BUCKET,
    BY_STATUS,
    COUNT,
    ORANGE,
    RATE,
    RED,
    REQUESTS,
    SHARE,
    Panel,
    PanelText,
    Query,
    Row,
    lines,
)
from rerank_dashboard.queries import mean, of, of_bucket, per_second, share, whole_quantile

_ALL = of("rerank_requests_total")


def row() -> Row:
    """Show requests, then documents and tokens."""
    return Row(
        "Traffic", [_statuses(), _dialects(), _refused(), _documents(), _tokens(), _lengths()]
    )


def _statuses() -> Panel:
    return lines(
        PanelText(
            "Requests by status",
            "Rerank requests a second, by HTTP status. 499: the client went before the answer.",
            "Orange (429) or red (424, 5xx): go on to 'Errors'. A fall to nothing: ask the caller.",
        ),
        REQUESTS,
        Query(f"{per_second(_ALL, 'status')} > 0", "{{status}}"),
        colors=BY_STATUS,
        is_stacked=True,
    )


def _dialects() -> Panel:
    return lines(
        PanelText(
            "Requests by dialect",
            "Rerank requests a second, by dialect of the body; none was refused before its "
            "dialect was known. The page /docs tells whose clients speak which.",
            "Much 'none': a client sends what is not JSON, or too much, or while nothing is ready.",
        ),
        REQUESTS,
        Query(f"{per_second(_ALL, 'dialect')} > 0", "{{dialect}}"),
        is_stacked=True,
    )


def _refused() -> Panel:
    return lines(
        PanelText(
            "Share refused",
            "Share of all rerank requests answered by an error, and by 429 for overload.",
            "Overload over 5 %: RerankOverloaded; add servers, lower the load. Others: 'Errors'.",
        ),
        SHARE,
        Query(share(of("rerank_rejected_total"), _ALL), "any error"),
        Query(share(of("rerank_rejected_total", 'reason="overloaded"'), _ALL), "overload"),
        colors={"any error": RED, "overload": ORANGE},
    )


def _documents() -> Panel:
    return lines(
        PanelText(
            "Documents scored",
            "Documents a second, by the bucket of documents of their request.",
            "The figure to plan capacity with, together with tokens.",
        ),
        RATE,
        Query(per_second(of_bucket("rerank_documents_total"), "documents"), "{{documents}}"),
        colors=BY_BUCKET,
        is_stacked=True,
    )


def _tokens() -> Panel:
    return lines(
        PanelText(
            "Tokens scored",
            "Tokens a second of the requests scored, by bucket of documents. The model's time goes "
            "with tokens.",
            "Flat at its highest while the queue grows: the model is at its limit.",
        ),
        RATE,
        Query(per_second(of_bucket("rerank_tokens_total"), "documents"), "{{documents}}"),
        colors=BY_BUCKET,
        is_stacked=True,
    )


def _lengths() -> Panel:
    name = "rerank_documents_per_request"
    return lines(
        PanelText(
            "Documents per request",
            "How long shortlists are: median, 95th percentile and mean.",
            "A jump changes latency and capacity: ask the caller whether it is meant.",
        ),
        COUNT,
        Query(whole_quantile(0.5, name), "p50"),
        Query(whole_quantile(0.95, name), "p95"),
        Query(mean(name), "mean"),
    )
