"""Draws the row about what was refused, failed or cut."""

from rerank_dashboard.panels import (
    ORANGE,
    RATE,
    RED,
    REQUESTS,
    SHARE,
    Panel,
    Panels,
    PanelText,
    Query,
    Row,
    lines,
)
from rerank_dashboard.queries import of, per_second, share

_FAILED = per_second(of("rerank_requests_total", 'status=~"424|5.."'))
_OVERLOAD = per_second(of("rerank_rejected_total", 'reason="overloaded"'))
_BAD = f"({_FAILED} + {_OVERLOAD})"
_ANSWERED = per_second(of("rerank_requests_total", 'status="200"'))
_VALID = f"({_ANSWERED} + {_FAILED} + {_OVERLOAD})"
_LATE = per_second(of("rerank_requests_total", 'status="504"'))
_DOCUMENTS = of("rerank_documents_total")


def row() -> Row:
    """Show errors first, then what clients should hear of."""
    return Row("Errors", [*_errors(), _bad_share(), *_clients()])


def _errors() -> Panels:
    return [
        lines(
            PanelText(
                "Errors by reason",
                "Requests answered by an error, a second. The caller's: invalid, too_large, "
                "not_found, unauthorized, key_limit, deadline_too_short. The server's state: "
                "loading, draining, unavailable.",
                "overloaded: add servers. deadline: the queue is too long. deadline_too_short: "
                "lists too long for their deadline on any idle server. inference, internal: "
                "read the log. unavailable: restart the server.",
            ),
            REQUESTS,
            Query(per_second(of("rerank_rejected_total"), "reason"), "{{reason}}"),
        ),
        lines(
            PanelText(
                "Server errors by status",
                "500 and 424: the model failed (424 in the dialect tei). 503: loading, draining or "
                "lost. 504: too late.",
                "Any for longer than a roll-out: 'Errors by reason' names the cause.",
            ),
            REQUESTS,
            Query(
                per_second(of("rerank_requests_total", 'status=~"424|5.."'), "status"),
                "{{status}}",
            ),
            is_stacked=True,
        ),
    ]


def _bad_share() -> Panel:
    return lines(
        PanelText(
            "Share of valid requests that fail",
            "424, 5xx and 429 for overload, over what a correct client sent: what the "
            "availability objective counts; and 504 alone.",
            "Above 0.1 % the budget shrinks. 504 over 1 %: RerankDeadlineMisses.",
        ),
        SHARE,
        Query(f"{_BAD} / {_VALID} >= 0", "bad"),
        Query(f"{_LATE} / {_VALID} >= 0", "504"),
        colors={"bad": RED, "504": ORANGE},
    )


def _clients() -> Panels:
    return [
        lines(
            PanelText(
                "Documents cut",
                "Share of the documents scored that were longer than the card's limit, and cut.",
                "More than a few %: shorten or split documents, or raise max_document_tokens in "
                "the card; what is cut is not ranked by.",
            ),
            SHARE,
            Query(share(of("rerank_truncated_documents_total"), _DOCUMENTS), "cut"),
        ),
        lines(
            PanelText(
                "Fields ignored",
                "Fields a second that other servers know and this one does not.",
                "A caller relies on 'instruction' or the like: tell it that nothing happens.",
            ),
            RATE,
            Query(f"{per_second(of('rerank_ignored_fields_total'), 'field')} > 0", "{{field}}"),
        ),
        lines(
            PanelText(
                "Clients gone",
                "Requests a second whose client closed the connection before the answer (499).",
                "With long latencies: callers' time-outs are shorter than what is promised.",
            ),
            REQUESTS,
            Query(per_second(of("rerank_requests_total", 'status="499"')), "499"),
        ),
    ]
