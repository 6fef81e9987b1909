"""The dashboard's file: up to date, legible, and naming only what there is."""

import itertools
import json
import re
from typing import Any

import pytest

from blockrank_server.service.metrics import BUCKETS
from deploy_kit.labels import Known, yielded
from deploy_kit.rules import DEPLOY, alerts
from deploy_kit.shown import expanded
from rerank_dashboard.__main__ import PATH
from rerank_dashboard.board import dashboard_json

BOARD: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [each for each in BOARD["panels"] if each["type"] != "row"]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

each_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])


def test_the_file_is_what_the_code_makes() -> None:
    assert PATH.read_text(encoding="utf-8") == dashboard_json(), "run make dashboard"


def test_the_rows() -> None:
    rows = [each["title"] for each in BOARD["panels"] if each["type"] == "row"]
    assert rows == [
        *("Objectives", "Traffic", "Latency by documents in the request", "Kept documents"),
        *("Batching", "Errors", "Device and process"),
    ]


@each_panel
def test_a_query_names_what_there_is(panel: dict[str, Any], known: Known) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        labels = yielded(expanded(target["expr"], rate_interval_s=60), known)
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels | {"le"}


@each_panel
def test_a_panel_follows_the_variables(panel: dict[str, Any]) -> None:
    assert panel["datasource"] == DATASOURCE
    for target in panel["targets"]:
        assert target["datasource"] == DATASOURCE
        assert "$job" in target["expr"] or "max(rerank:" in target["expr"]
        ranges = set(re.findall(r"\[([^\]]+)\]", target["expr"]))
        assert ranges <= ({"30d"} if panel["type"] == "stat" else {"$__rate_interval"})


@each_panel
def test_a_panel_has_a_unit_and_says_what_to_do(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    means, do = panel["description"].split("\n\n**What to do:** ")
    assert means.endswith(".")
    assert do.endswith(".")


def test_descriptions_name_only_panels_and_alerts_there_are() -> None:
    titles = {each["title"] for each in BOARD["panels"]} | {"Latency"}
    known_alerts = {alert.name for alert in alerts()}
    text = "\n".join(panel["description"] for panel in PANELS)
    quoted = set(re.findall(r"'([A-Z][^'\n]+)'", text))
    assert quoted
    assert quoted <= titles
    assert set(re.findall(r"Rerank\w+", text)) <= known_alerts


def test_the_readme_names_only_panels_there_are() -> None:
    page = (DEPLOY / "README.md").read_text(encoding="utf-8").partition("\n## Alerts\n")[2]
    quoted = {" ".join(name.split()) for name in re.findall(r'"([A-Z][^"]+)"', page)}
    titles = {each["title"] for each in BOARD["panels"]} | {"Latency"}
    assert quoted - {"CUDA error"} <= titles


def test_panels_neither_overlap_nor_leave_the_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for each in BOARD["panels"]:
        at = each["gridPos"]
        cells = set(
            itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
        )
        assert not cells & taken, each["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_ids_and_titles_are_unique() -> None:
    for key in ("id", "title"):
        values = [each[key] for each in BOARD["panels"]]
        assert len(values) == len(set(values))


def test_every_bucket_can_be_chosen() -> None:
    choices = {each["name"]: each for each in BOARD["templating"]["list"]}
    assert list(choices) == ["datasource", "job", "instance", "documents"]
    assert choices["documents"]["query"].split(",") == list(BUCKETS)


def test_the_dashboard_lies_where_provisioning_looks() -> None:
    text = (DEPLOY / "grafana/provisioning/dashboards/blockrank-server.yml").read_text()
    assert "path: /etc/grafana/dashboards" in text
    assert PATH.parent == DEPLOY / "grafana" / "dashboards"
