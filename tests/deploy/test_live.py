"""Every query of the dashboard and every rule, on a Prometheus that scrapes a server under load."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deploy_kit.processes import Running, fake_server, prometheus
from deploy_kit.prometheus_api import Line, PrometheusApi
from deploy_kit.rules import alerts, recorded
from deploy_kit.shown import Target, targets
from deploy_kit.traffic import Traffic
from rerank_dashboard.__main__ import PATH

pytestmark = pytest.mark.prometheus

LIMIT_S = 60.0  # for all data to be there; it takes about 15 s
PANELS = [p for p in json.loads(PATH.read_text(encoding="utf-8"))["panels"] if p["type"] != "row"]


class Stack(NamedTuple):
    api: PrometheusApi
    server: Running
    started_s: float


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("prometheus")
    started_s = time.time()
    with (
        fake_server() as server,
        prometheus(folder, server.port) as prom,
        Traffic(server.port, odd_share=0.12),
        PrometheusApi(f"http://127.0.0.1:{prom.port}") as api,
    ):
        yield Stack(api, server, started_s)


def wait_for(checks: Mapping[str, Callable[[], bool]]) -> None:
    """Ask until all have come true; say which did not."""
    left, pause = dict(checks), threading.Event()
    ends_s = time.monotonic() + LIMIT_S
    while left := {name: check for name, check in left.items() if not check()}:
        assert time.monotonic() < ends_s, f"still without data: {sorted(left)}"
        pause.wait(1)  # the next scrape


def is_moving(lines: list[Line]) -> bool:
    return any(value != 0 for line in lines for _, value in line.points)


def shows(stack: Stack, target: Target) -> Callable[[], bool]:
    def check() -> bool:
        now_s = time.time()
        if target.is_instant:
            return is_moving(stack.api.at(target.expr, now_s))
        return is_moving(stack.api.over(target.expr, stack.started_s, now_s, 1))

    return check


def test_every_query_of_every_panel_shows_something(stack: Stack) -> None:
    wait_for(
        {
            f"{panel['title']}: {target.expr}": shows(stack, target)
            for panel in PANELS
            for target in targets(panel, rate_interval_s=4)
        }
    )


def test_every_recording_rule_records(stack: Stack) -> None:
    def records(name: str, labels: dict[str, str]) -> Callable[[], bool]:
        matchers = ", ".join(f'{key}="{value}"' for key, value in labels.items())
        return lambda: bool(stack.api.at(f"{name}{{{matchers}}}", time.time()))

    wait_for({str(rule): records(rule.name, rule.labels) for rule in recorded()})


def rules(stack: Stack) -> list[dict[str, Any]]:
    return [rule for group in stack.api.data("rules")["groups"] for rule in group["rules"]]


def test_every_rule_is_evaluated_without_an_error(stack: Stack) -> None:
    wait_for({"rules": lambda: all(rule["health"] == "ok" for rule in rules(stack))})
    loaded = {rule["name"] for rule in rules(stack) if rule["type"] == "alerting"}
    assert loaded == {alert.name for alert in alerts()}


def state(stack: Stack, alert: str) -> str:
    (rule,) = (rule for rule in rules(stack) if rule["name"] == alert)
    return str(rule["state"])


def test_a_failed_batch_raises_its_alert(stack: Stack) -> None:
    wait_for({"firing": lambda: state(stack, "RerankBatchFailures") == "firing"})
    (alert,) = (
        each
        for each in stack.api.data("alerts")["alerts"]
        if each["labels"]["alertname"] == "RerankBatchFailures"
    )
    assert alert["annotations"]["summary"] == (
        f"Forward passes fail on 127.0.0.1:{stack.server.port}"
    )
    assert state(stack, "RerankDown") == "inactive"


def test_a_server_that_is_gone_is_noticed(tmp_path: Path) -> None:
    with (
        fake_server() as server,
        prometheus(tmp_path, server.port) as prom,
        PrometheusApi(f"http://127.0.0.1:{prom.port}") as api,
    ):
        stack = Stack(api, server, time.time())
        wait_for({"up": lambda: is_moving(stack.api.at("rerank_ready", time.time()))})
        server.process.kill()
        wait_for({"down": lambda: state(stack, "RerankDown") == "pending"})
