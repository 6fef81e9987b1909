"""The dashboard's queries as Grafana would send them, with every variable set to All."""

from typing import Any, NamedTuple

from rerank_dashboard.board import ALL


class Target(NamedTuple):
    """One query of a panel, ready to be sent.

    Attributes:
        expr: PromQL without variables.
        is_instant: evaluated once instead of over time.
    """

    expr: str
    is_instant: bool


def targets(panel: dict[str, Any], *, rate_interval_s: int) -> list[Target]:
    """A panel's queries.

    Args:
        panel: a panel of the dashboard's JSON.
        rate_interval_s: what $__rate_interval stands for; at least four scrapes.
    """
    return [
        Target(
            expanded(target["expr"], rate_interval_s=rate_interval_s),
            target.get("instant", False),
        )
        for target in panel["targets"]
    ]


def expanded(expr: str, *, rate_interval_s: int) -> str:
    """PromQL with the variables replaced.

    Raises:
        ValueError: it has a variable that is not known here.
    """
    expr = expr.replace("$__rate_interval", f"{rate_interval_s}s")
    for variable in ("job", "instance", "documents"):
        expr = expr.replace(f'"${variable}"', f'"{ALL}"')
    if "$" in expr:
        raise ValueError(f"unknown variable in {expr}")
    return expr
