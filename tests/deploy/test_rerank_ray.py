"""What of deploy/rerank_ray/ needs no Ray: options, the files, and ASGI before the server's app."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from blockrank_server.service.settings import Settings
from rerank_ray.front import Front
from rerank_ray.options import ReplicaOptions

FOLDER = Path(__file__).parents[2] / "deploy" / "rerank_ray"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    response = JSONResponse({"body": body.decode()}, headers={"X-Request-ID": "inner"})
    await response(scope, receive, send)


async def two_targets() -> list[str]:
    return ["10.0.0.1:4", "10.0.0.2:5"]


def test_options_are_read_from_text() -> None:
    options = ReplicaOptions.model_validate({"num_gpus": "0.5", "max_replicas": "4"})
    assert (options.num_gpus, options.max_replicas, options.min_replicas) == (0.5, 4, 1)


@pytest.mark.parametrize(
    "wrong", [{"gpus": 1}, {"min_replicas": 3, "max_replicas": 2}, {"num_cpus": 0}]
)
def test_a_wrong_option_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ReplicaOptions.model_validate(wrong)


def test_the_clusters_file_names_options_and_settings_that_exist() -> None:
    [application] = yaml.safe_load((FOLDER / "serve.yaml").read_text())["applications"]
    ReplicaOptions.model_validate(application["args"])
    named = {
        name.removeprefix("BLOCKRANK_").lower() for name in application["runtime_env"]["env_vars"]
    }
    assert named <= set(Settings.model_fields)


def test_the_page_tells_every_option() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in ReplicaOptions.model_fields if f"`{name}`" not in page] == []


def test_requests_reach_the_app_and_its_request_id_is_left_to_the_proxy() -> None:
    answer = TestClient(Front(echo, two_targets)).post("/rerank", content="text")
    assert answer.json() == {"body": "text"}
    assert "X-Request-ID" not in answer.headers


def test_metrics_are_refused_and_the_targets_listed() -> None:
    client = TestClient(Front(echo, two_targets))
    for path in ("/metrics", "/metrics/", "/x/../metrics"):
        assert client.get(path).status_code == 404
    assert client.get("/metrics/targets/").json() == [{"targets": ["10.0.0.1:4", "10.0.0.2:5"]}]


def test_a_cancelled_request_is_told_to_the_app_as_a_client_that_has_gone() -> None:
    heard: list[Message] = []
    has_started = asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        has_started.set()
        heard.append(await receive())

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def ignore(message: Message) -> None:
        raise AssertionError(message)

    async def cancel() -> None:
        scope = {"type": "http", "path": "/rerank", "headers": []}
        asked = asyncio.create_task(Front(waits, two_targets)(scope, never, ignore))
        await has_started.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(cancel())
    assert heard == [{"type": "http.disconnect"}]
