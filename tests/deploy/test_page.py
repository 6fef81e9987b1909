"""What deploy/README.md names: metrics, targets, settings."""

import re
from pathlib import Path

import pytest

from blockrank_server.service.settings import Settings
from deploy_kit.labels import Known

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")


def test_every_metric_on_the_page_exists(known: Known) -> None:
    named = set(re.findall(r"`((?:rerank|process)_\w+)`", PAGE))
    assert len(named) > 3
    assert named <= set(known)


def test_every_setting_on_the_page_exists() -> None:
    named = {name.lower() for name in re.findall(r"\bBLOCKRANK_([A-Z][A-Z_]+[A-Z])\b", PAGE)}
    assert named <= set(Settings.model_fields)


def test_every_make_target_on_the_page_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", PAGE, re.MULTILINE))
    assert "test-compose" in named
    assert named <= targets


@pytest.mark.parametrize("alert", sorted(set(re.findall(r"\bRerank[A-Z]\w+", PAGE))))
def test_every_alert_on_the_page_has_its_section(alert: str) -> None:
    assert f"### {alert}\n" in PAGE
