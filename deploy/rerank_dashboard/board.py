"""Puts the rows together to the dashboard that Grafana reads."""

import json

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from blockrank_server.service.metrics import BUCKETS
from rerank_dashboard import batching, device, errors, latency, objectives, reuse, traffic
from rerank_dashboard.panels import DATASOURCE

TITLE = "blockrank-server"
# What the variables stand for when everything is chosen.
ALL = ".+"


def dashboard_json() -> str:
    """Return the text of the file that Grafana provisions, which is the same on every run."""
    text = json.dumps(_board().build(), cls=JSONEncoder, indent=1, sort_keys=True)
    return f"{text}\n"


def _board() -> build.Dashboard:
    board = (
        build.Dashboard(TITLE)
        .uid(TITLE)
        .description("Traffic, latency, batches, errors and device of blockrank-server.")
        .tags(["rerank"])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(
            build.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
        .with_variable(_servers("job", "rerank_ready"))
        .with_variable(_servers("instance", 'rerank_ready{job=~"$job"}'))
        .with_variable(_documents())
    )
    number = 0
    for module in (objectives, traffic, latency, reuse, batching, errors, device):
        row = module.row()
        board.with_row(build.Row(row.title).id(number := number + 1))
        for panel in row.panels:
            board.with_panel(panel.id(number := number + 1))
    return board


def _servers(label: str, series: str) -> build.QueryVariable:
    query: dict[str, object] = {"query": f"label_values({series}, {label})", "refId": label}
    return (
        build.QueryVariable(label)
        .label(label.capitalize())
        .query(query)
        .datasource(DATASOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(ALL)
        .current(_everything())
    )


def _documents() -> build.CustomVariable:
    return (
        build.CustomVariable("documents")
        .label("Documents")
        .values(",".join(BUCKETS))
        .multi(True)
        .include_all(True)
        .all_value(ALL)
        .current(_everything())
    )


def _everything() -> VariableOption:
    return VariableOption(selected=True, text="All", value="$__all")
