"""Manifests: by Kubernetes' own schemas, and what they must say beside."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from blockrank_server.service.settings import Settings
from deploy_kit.labels import Known

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
VERSIONS = ("1.30", "1.34")
NAME = {"app.kubernetes.io/name": "blockrank-server"}


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["deployment", "service", "autoscaler", "disruption"])
def test_a_manifest_is_of_its_schema(name: str, version: str) -> None:
    kubernetes_validate.validate(read(name), version, strict=True)


def test_every_manifest_is_tested() -> None:
    names = {path.stem for path in FOLDER.glob("*.yaml")}
    assert names == {"deployment", "service", "autoscaler", "disruption", "monitor"}


def test_all_mean_the_same_pods() -> None:
    deployment = read("deployment")
    assert deployment["spec"]["template"]["metadata"]["labels"] == NAME
    assert deployment["spec"]["selector"]["matchLabels"] == NAME
    assert read("service")["spec"]["selector"] == NAME
    assert read("disruption")["spec"]["selector"]["matchLabels"] == NAME
    assert read("autoscaler")["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_the_operator_scrapes_the_service_under_the_job_that_the_alerts_name() -> None:
    service, monitor = read("service"), read("monitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "blockrank-server"
    [endpoint] = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_the_autoscaler_asks_for_a_metric_that_there_is(known: Known) -> None:
    [metric] = read("autoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] in known


def test_settings_in_the_manifest_exist_and_leave_time_to_drain() -> None:
    pod = read("deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    names = {entry["name"].removeprefix("BLOCKRANK_").lower() for entry in container["env"]}
    assert names <= set(Settings.model_fields)
    pause_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    drain_s = Settings.model_fields["drain_timeout_s"].default
    assert pod["terminationGracePeriodSeconds"] > pause_s + drain_s
