"""Prometheus' configuration, checked without Prometheus; test_promtool.py has it checked by it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from blockrank_server.service.api.deadline import TIMEOUT_MS_ON_CUDA
from blockrank_server.service.metrics import BUCKETS
from blockrank_server.service.scheduler.metric_factory import SECONDS
from blockrank_server.service.settings import Settings
from deploy_kit.labels import Known, yielded
from deploy_kit.rules import DEPLOY, Alert, alerts, recorded

README = (DEPLOY / "README.md").read_text(encoding="utf-8")
UNIT_TESTS = sorted(Path(__file__).with_name("rules").glob("*.test.yml"))
ALERTS = {alert.name: alert for alert in alerts()}


def constant(name: str) -> float:
    (rule,) = (rule for rule in recorded() if rule.name == name)
    found = re.fullmatch(r"vector\((.+)\)", rule.expr)
    assert found
    return float(found[1])


def unit_tests() -> Iterator[dict[str, Any]]:
    for path in UNIT_TESTS:
        for case in yaml.safe_load(path.read_text())["tests"]:
            yield from case["promql_expr_test"]


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda alert: alert.name)
def test_an_alert_names_what_there_is(alert: Alert, known: Known) -> None:
    labels = yielded(alert.expr, known)
    for text in alert.annotations.values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels, text


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda alert: alert.name)
def test_an_alert_says_how_bad_it_is_and_where_to_read_on(alert: Alert) -> None:
    assert alert.severity in ("critical", "warning")
    assert set(alert.annotations) == {"summary", "description", "runbook_url"}
    assert alert.annotations["runbook_url"] == f"deploy/README.md#{alert.name.lower()}"
    section = README.partition(f"\n### {alert.name}\n")[2].partition("\n#")[0]
    assert f"**{alert.severity}**" in section, f"README says nothing of {alert.name}"


def test_the_readme_explains_no_alert_that_is_gone() -> None:
    assert re.findall(r"^### (Rerank\w+)$", README, re.MULTILINE) == list(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_tested_both_ways(name: str) -> None:
    query = f'ALERTS{{alertname="{name}", alertstate="firing"}}'
    found = [bool(test["exp_samples"]) for test in unit_tests() if test["expr"] == query]
    assert set(found) == {True, False}, "not shown to fire and to be silent"


def test_every_bucket_has_one_threshold_which_is_an_edge_of_the_histogram() -> None:
    rules = [rule for rule in recorded() if rule.name == "rerank:latency_objective:seconds"]
    assert [rule.labels["documents"] for rule in rules] == list(BUCKETS)
    edges = [str(edge) for edge in SECONDS]  # as the client writes `le` of such numbers
    for rule in rules:
        assert rule.labels["le"] in edges
        assert rule.expr == f"vector({rule.labels['le']})"
    thresholds = [float(rule.labels["le"]) for rule in rules]
    assert thresholds == sorted(thresholds)
    assert thresholds[-1] < constant("rerank:deadline:seconds")


def test_the_limits_are_those_of_the_settings() -> None:
    settings = Settings()
    assert constant("rerank:queue_limit:requests") == settings.max_queue_requests
    assert constant("rerank:queue_limit:tokens") == settings.max_queue_tokens
    assert settings.request_timeout_ms is None
    assert constant("rerank:deadline:seconds") == TIMEOUT_MS_ON_CUDA / 1000


def test_the_alerts_on_processes_name_the_scraped_job() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (scrape,) = config["scrape_configs"]
    named = {job for alert in ALERTS.values() for job in re.findall(r'job="([^"]+)"', alert.expr)}
    assert named == {scrape["job_name"]}
    assert scrape["metrics_path"] == "/metrics"


def test_grafana_counts_with_the_scrape_interval() -> None:
    source = DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    (datasource,) = yaml.safe_load(source.read_text())["datasources"]
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert datasource["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
