"""docker-compose.yml and what it names: limits, pins, nothing open to the network."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from blockrank_server.models.checkpoint.any_card import load_any_card
from blockrank_server.models.checkpoint.card import built_in_cards
from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard
from blockrank_server.service.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
RERANKERS = ["rerank-cpu", "rerank-gpu", "rerank-reasoning"]
BUILT = {*RERANKERS, "search", "search-opensearch", "opensearch-setup"}
ONE_SHOT = {"locust", "opensearch-setup"}
each_service = pytest.mark.parametrize("name", SERVICES)


@each_service
def test_every_image_has_a_version(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", image.replace("${RERANK_VERSION:-0.1.0}", "0.1.0"))
    assert ("build" in SERVICES[name]) == (name in BUILT)


@each_service
def test_every_container_has_limits_and_no_way_to_more_rights(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert {"memory", "pids"} <= set(limits)
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only") or name == "opensearch"


@each_service
def test_ports_are_published_on_the_loopback_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


@each_service
def test_what_stays_up_is_restarted_and_has_a_health_check(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert service["restart"] == "no"
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        assert name in BUILT or "test" in service["healthcheck"]  # ours have one in the image


@each_service
def test_files_that_are_mounted_exist(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


def test_versions_are_those_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"RERANK_VERSION:-([\d.]+)", text)) == {version}
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"locust=={SERVICES['locust']['image'].partition(':')[2]}\n" in pinned


def test_prometheus_scrapes_the_reranker_of_the_profile() -> None:
    [targets] = yaml.safe_load((ROOT / "deploy" / "compose" / "targets.yml").read_text())
    assert targets == {"targets": ["rerank:8000"]}
    for name in RERANKERS:
        assert SERVICES[name]["networks"]["default"]["aliases"] == ["rerank"]


@pytest.mark.parametrize("name", RERANKERS)
def test_a_reranker_is_given_time_to_answer_what_it_accepted(name: str) -> None:
    grace_s = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings.model_fields["drain_timeout_s"].default


def test_the_reasoning_reranker_asks_the_engine_of_its_profile_for_the_model_it_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, engine = SERVICES["rerank-reasoning"], SERVICES["vllm"]
    assert server["profiles"] == engine["profiles"] == ["reasoning"]
    assert server["depends_on"] == {"vllm": {"condition": "service_healthy"}}
    for name, value in server["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-(.*)\}", r"\1", value))
    settings = Settings()
    assert settings.engine_url == "http://vllm:8000"
    card = load_any_card(built_in_cards()[settings.model])
    assert isinstance(card, ReasoningCard)
    command = dict(zip(engine["command"][::2], engine["command"][1::2], strict=True))
    assert command["--model"] == server["environment"]["BLOCKRANK_MODEL"]
    assert int(command["--max-model-len"]) >= card.chain.max_context
    assert "ports" not in engine  # only the server reaches it
