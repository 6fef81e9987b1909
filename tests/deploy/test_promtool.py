"""Prometheus' own tool on the configuration, the rules and the rules' unit tests."""

import subprocess
from pathlib import Path

import pytest

from deploy_kit.processes import binary
from deploy_kit.rules import DEPLOY

pytestmark = pytest.mark.prometheus

UNIT_TESTS = sorted(Path(__file__).with_name("rules").glob("*.test.yml"))


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        [binary("promtool"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_and_its_rules_are_valid() -> None:
    said = promtool("check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))
    for name in ("objectives", "recording", "alerts"):
        assert f"rules/{name}.yml" in said


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_not_else(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", str(path))


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    (path,) = (path for path in UNIT_TESTS if path.name == "model.test.yml")
    text = path.read_text().replace("../../../deploy", str(DEPLOY))
    fires, is_silent = 'job="r", instance="full"}', 'job="r", instance="fits"}'
    assert fires in text
    wrong = tmp_path / "wrong.test.yml"
    wrong.write_text(text.replace(fires, is_silent))
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("test", "rules", str(wrong))
