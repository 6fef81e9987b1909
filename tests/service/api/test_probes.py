import threading
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

import pytest
from starlette.testclient import TestClient

from blockrank_server.models.errors import CheckpointError
from blockrank_server.service.api.app import create_app
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.ranker import Ranker
    from tests.service.conftest import FakeRanker, MakeClient

LIVE = ("/health", "/health/live", "/livez", "/ping", "/", "/v1/health/live")
READY = ("/health/ready", "/readyz", "/v1/health/ready")
WEAVIATE = ("/.well-known/live", "/.well-known/ready")
BODY = {"query": "q", "texts": ["a"]}


def statuses(client: TestClient, paths: tuple[str, ...]) -> set[int]:
    return {client.get(path).status_code for path in paths}


@pytest.mark.parametrize("stage", ["loading", "warming"])
def test_before_the_model_is_ready(
    settings: Settings, fake_ranker: "type[FakeRanker]", stage: str
) -> None:
    entered, opened = threading.Event(), threading.Event()
    ranker = fake_ranker()

    def hold() -> tuple[tuple[int, float], tuple[int, float]]:
        entered.set()
        assert opened.wait(60)
        return (10, 0.0), (100, 0.0)

    def open_ranker(_: Settings) -> "Ranker":
        if stage == "loading":
            hold()
        else:
            ranker.warm_up = hold  # type: ignore[method-assign]
        return cast("Ranker", ranker)

    with TestClient(create_app(settings, open_ranker)) as client:
        assert entered.wait(60)
        assert statuses(client, LIVE) == {200}
        assert statuses(client, READY) == {503}
        assert [client.get(path).status_code for path in WEAVIATE] == [204, 503]
        assert client.get("/readyz").json() == {"status": stage, "reason": f"Model is {stage}"}
        assert client.get("/readyz").headers["retry-after"] == "1"
        for response in (
            client.post("/rerank", json=BODY),
            client.get("/info"),
            client.get("/v1/models"),
            client.get("/meta"),
        ):
            assert response.status_code == 503
            assert response.json()["error_type"] == "Unhealthy"
            assert int(response.headers["retry-after"]) >= 1
        assert "rerank_ready 0.0" in client.get("/metrics").text
        opened.set()
        while client.get("/readyz").status_code != 200:
            pass
        assert client.post("/rerank", json=BODY).status_code == 200


def test_when_ready(make_client: "MakeClient", fake_ranker: "type[FakeRanker]") -> None:
    ranker = fake_ranker()
    with make_client(ranker) as client:
        assert statuses(client, LIVE + READY) == {200}
        assert statuses(client, WEAVIATE) == {204}
        assert "rerank_ready 1.0" in client.get("/metrics").text
    assert ranker.is_warm


def test_when_draining(client: TestClient) -> None:
    client.app.state.worker.drain()  # type: ignore[attr-defined]
    assert statuses(client, LIVE) == {200}
    assert client.get("/readyz").json()["status"] == "draining"
    response = client.post("/rerank", json=BODY)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


def test_when_the_model_could_not_be_loaded(settings: Settings) -> None:
    def open_ranker(_: Settings) -> "Ranker":
        raise CheckpointError("/a/path is missing")

    with TestClient(create_app(settings, open_ranker)) as client:
        while client.get("/readyz").json()["status"] != "failed":
            pass
        assert statuses(client, LIVE + READY) == {503}
        response = client.post("/rerank", json=BODY)
    assert response.status_code == 503
    assert "/a/path" not in response.text


def test_when_the_thread_has_died(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]"
) -> None:
    def die(_: Any) -> None:
        raise SystemExit

    with make_client(fake_ranker(before_score=die)) as client:
        first = client.post("/rerank", json=BODY)
        assert (first.status_code, first.json()["error_type"]) == (503, "Unhealthy")
        assert statuses(client, LIVE + READY + WEAVIATE) == {503}
        assert "died" in client.get("/readyz").json()["reason"]
        assert client.post("/rerank", json=BODY).status_code == 503


def test_weaviate_s_answers_have_no_body(client: TestClient) -> None:
    for path in WEAVIATE:
        assert client.get(path).content == b""
    client.app.state.worker.drain()  # type: ignore[attr-defined]
    response = client.get("/.well-known/ready")
    assert (response.status_code, response.content) == (503, b"")
    assert response.headers["retry-after"] == "1"


def test_nim_s_form(client: TestClient) -> None:
    assert client.get("/v1/health/live").json() == {
        "object": "health.response",
        "message": "Service is live.",
        "status": "live",
    }
    assert client.get("/v1/health/ready").json() == {
        "object": "health.response",
        "message": "Service is ready.",
        "status": "ready",
    }
    client.app.state.worker.drain()  # type: ignore[attr-defined]
    assert client.get("/v1/health/ready").json() == {
        "object": "health.response",
        "message": "Server is shutting down",
        "status": "not ready",
    }


def test_meta_is_an_object(client: TestClient) -> None:
    assert client.get("/meta").json()["model"]["name"] == "fake"


def test_info_has_tei_s_keys_and_ours(client: TestClient) -> None:
    info = client.get("/info").json()
    tei = {"model_id", "model_sha", "model_dtype", "served_model_name", "model_type"} | {
        *("max_concurrent_requests", "max_input_length", "max_batch_tokens", "max_batch_requests"),
        *("max_client_batch_size", "auto_truncate", "tokenization_workers", "version", "sha"),
        "docker_label",
    }
    assert set(info) > tei
    assert next(iter(info["model_type"])) == "reranker"
    assert info["served_model_name"] == "fake"
    assert info["max_input_length"] == 50
    assert info["max_client_batch_size"] == 1000
    assert (info["attention"], info["num_layers_kept"], info["num_layers"]) == ("torch", 1, 2)
    assert info["device"] == "cpu"


@pytest.mark.parametrize("path", ["/v1/models", "/models"])
def test_models(client: TestClient, path: str) -> None:
    read = client.get(path).json()
    assert read["object"] == "list"
    assert [(m["id"], m["object"]) for m in read["data"]] == [("fake", "model")]


def test_version(client: TestClient) -> None:
    assert client.get("/version").json() == {"version": version("blockrank-server")}


def test_metrics_is_no_redirect(client: TestClient) -> None:
    response = client.get("/metrics", follow_redirects=False)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
