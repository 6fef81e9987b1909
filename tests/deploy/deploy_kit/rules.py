"""The rule files, as data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from deploy_kit.labels import Known, scraped, yielded

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES = DEPLOY / "prometheus" / "rules"


class Recorded(NamedTuple):
    """A recording rule."""

    name: str
    expr: str
    labels: dict[str, str]


class Alert(NamedTuple):
    """An alert rule."""

    name: str
    expr: str
    severity: str
    annotations: dict[str, str]


def _rules() -> Iterator[dict[str, Any]]:
    # Objectives come first: the others name them.
    for name in ("objectives.yml", "recording.yml", "alerts.yml"):
        for group in yaml.safe_load((RULES / name).read_text())["groups"]:
            yield from group["rules"]


def recorded() -> list[Recorded]:
    return [
        Recorded(r["record"], r["expr"], r.get("labels", {})) for r in _rules() if "record" in r
    ]


def alerts() -> list[Alert]:
    return [
        Alert(rule["alert"], rule["expr"], rule["labels"]["severity"], rule["annotations"])
        for rule in _rules()
        if "alert" in rule
    ]


def known() -> Known:
    """Every name a query may use: what is scraped, and what the rules record."""
    found = dict(scraped())
    for rule in recorded():
        labels = dict.fromkeys(yielded(rule.expr, found)) | dict.fromkeys(rule.labels)
        before = found.setdefault(rule.name, labels)
        assert set(before) == set(labels), f"{rule.name} has different labels in different rules"
    return found
