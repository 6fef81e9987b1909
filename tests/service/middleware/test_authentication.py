"""Who may ask: keys on every path but the probes, and so many requests a key."""

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.testclient import TestClient
from structlog.testing import capture_logs

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker, Gate, MakeClient

BODY = {"query": "q", "texts": ["a", "q"]}
KEY, OTHER = "secret-key", "secret-other"
WITH_KEY = {"Authorization": f"Bearer {KEY}"}
PROBES = ("/health", "/livez", "/ping", "/readyz", "/info", "/v1/models", "/version", "/docs")


@pytest.fixture
def client(make_client: "MakeClient") -> Iterator[TestClient]:
    with make_client(api_keys=SecretStr(f"{KEY},{OTHER}")) as client:
        yield client


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text(f"alice:{KEY}\nbob:{OTHER}\n")
    return file


def guarded(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Method and path of every route that a caller could change or use something with."""
    for route in routes:
        inside = getattr(route, "original_router", route)  # FastAPI wraps a router it includes
        for method in getattr(route, "methods", None) or ():
            if method not in ("GET", "HEAD", "OPTIONS"):
                yield method, re.sub(r"\{.*?\}", "x", route.path)
        yield from guarded(getattr(inside, "routes", ()))


def assert_unauthorized(response: Any) -> None:
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    body = response.json()
    assert (body["error_type"], body["code"]) == ("Unauthorized", 401)
    assert body["error"] == body["message"] == body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    assert "secret" not in response.text


def test_no_route_but_the_probes_answers_without_a_key(client: TestClient) -> None:
    app = client.app
    assert isinstance(app, FastAPI)
    methods = ["POST", "PUT", "PATCH", "DELETE"]
    app.add_api_route("/to/{come}", lambda come: come, methods=methods)
    found = list(guarded(app.routes))
    assert {("POST", "/rerank"), ("POST", "/v2/rerank"), ("DELETE", "/to/x")} <= set(found)
    for method, path in found:
        assert_unauthorized(client.request(method, path, json=BODY))
        answer = client.request(method, path, json=BODY, headers=WITH_KEY)
        assert answer.status_code not in (401, 405), (method, path)


def test_the_walk_finds_a_route_of_an_included_router(client: TestClient) -> None:
    app = client.app
    assert isinstance(app, FastAPI)
    inner = FastAPI()
    inner.add_api_route("/deep/{down}", lambda down: down, methods=["POST"])
    app.include_router(inner.router)
    assert ("POST", "/deep/x") in set(guarded(app.routes))


def test_a_path_that_is_not_there_is_not_told_to_strangers(client: TestClient) -> None:
    for path in ("/", "/nope", "/rerank/", "/info", "/static-offline-docs/x.js"):
        assert_unauthorized(client.post(path, json=BODY, follow_redirects=False))


@pytest.mark.parametrize("path", [*PROBES, "/metrics"])
def test_probes_stay_open(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {KEY} "},
        {"authorization": KEY},
        {"X-API-Key": KEY},
        {"Api-Key": OTHER},
        {"Authorization": "Basic YTpi", "X-API-Key": KEY},
        {"Authorization": "Bearer stale", "Api-Key": KEY},
    ],
)
def test_a_key_in_any_of_the_headers(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/rerank", json=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Bearer {KEY} x"},
        {"Authorization": f"Bearer {KEY},{OTHER}"},
        {"Authorization": "Bearer secret\xe9"},
        {"X-API-Key": f"Bearer {KEY}"},
        {"X-API-Key": ""},
        {"Cookie": f"Authorization={KEY}"},
    ],
)
def test_anything_else_is_401(client: TestClient, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    assert_unauthorized(client.post("/rerank", json=BODY, headers=raw))


def test_the_key_is_no_query_parameter(client: TestClient) -> None:
    assert_unauthorized(client.post(f"/rerank?api_key={KEY}&key={KEY}", json=BODY))


def test_a_stranger_s_body_is_not_read(client: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        yield b"{"
        raise AssertionError("the second chunk was asked for")

    assert_unauthorized(client.post("/rerank", content=endless()))
    assert client.post("/rerank", content=endless(), headers=WITH_KEY).status_code == 500


def test_metrics_may_need_a_key(make_client: "MakeClient") -> None:
    with make_client(api_keys=SecretStr(KEY), metrics_need_key=True) as client:
        assert_unauthorized(client.get("/metrics"))
        assert client.get("/metrics", headers=WITH_KEY).status_code == 200
        assert client.get("/health").status_code == 200


def test_refusals_are_counted_and_logged_without_the_key(client: TestClient) -> None:
    with capture_logs() as lines:
        client.post("/rerank", json=BODY, headers={"Authorization": "Bearer secret-wrong"})
    [line] = [line for line in lines if line["event"] == "request"]
    assert (line["status"], line["reason"], line["key"]) == (401, "unauthorized", None)
    assert "secret" not in str(lines)
    found = client.get("/metrics").text
    assert 'rerank_requests_total{dialect="none",status="401"} 1.0' in found
    assert 'rerank_rejected_total{reason="unauthorized"} 1.0' in found


def test_a_log_line_tells_the_name_if_the_file_has_one(
    make_client: "MakeClient", file: Path
) -> None:
    listed = "secret-listed"
    with make_client(api_keys=SecretStr(listed), api_keys_file=file) as client:
        with capture_logs() as lines:
            for key in (OTHER, listed):
                client.post("/rerank", json=BODY, headers={"X-API-Key": key})
        assert [line["key"] for line in lines if line["event"] == "request"] == ["bob", None]
        assert "secret" not in str(lines) + client.get("/metrics").text + client.get("/info").text


def test_a_key_that_is_taken_away_is_refused_from_then_on(
    make_client: "MakeClient", file: Path
) -> None:
    with make_client(api_keys_file=file) as client:
        assert client.post("/rerank", json=BODY, headers=WITH_KEY).status_code == 200
        file.write_text("alice:another\n")
        assert_unauthorized(client.post("/rerank", json=BODY, headers=WITH_KEY))


def test_a_key_over_its_limit_gets_429_at_once(
    make_client: "MakeClient", gate: "Gate", file: Path
) -> None:
    ranker, other = gate.ranker(), {"X-API-Key": OTHER}
    limited = make_client(ranker, api_keys_file=file, max_concurrent_requests_per_key=1)
    with limited as client, ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, "/rerank", json=BODY, headers=WITH_KEY)
        assert gate.entered.wait(60)
        refused = client.post("/v1/rerank", json=BODY, headers=WITH_KEY)
        second = pool.submit(client.post, "/rerank", json=BODY, headers=other)
        gate.opened.set()
        assert (first.result(60).status_code, second.result(60).status_code) == (200, 200)
        again = [client.post("/rerank", json=BODY, headers=WITH_KEY) for _ in range(3)]
        assert 'rerank_rejected_total{reason="key_limit"} 1.0' in client.get("/metrics").text
    assert refused.status_code == 429
    assert refused.json()["error_type"] == "Overloaded"
    assert int(refused.headers["retry-after"]) >= 1
    assert [answer.status_code for answer in again] == [200] * 3
    assert sum(ranker.batches) == 5


def test_a_place_is_given_back_whatever_the_answer(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]", file: Path
) -> None:
    ranker = fake_ranker(before_score=lambda batch: 1 / 0)  # type: ignore[arg-type]
    limited = make_client(ranker, api_keys_file=file, max_concurrent_requests_per_key=1)
    with limited as client:
        for body, status in ((BODY, 424), ({}, 422), (BODY, 424)):
            assert client.post("/rerank", json=body, headers=WITH_KEY).status_code == status


def test_the_docs_ask_for_the_key_where_one_is_needed(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["paths"]["/rerank"]["post"]["security"] == [{"key": []}]
    assert "security" not in document["paths"]["/health"]["get"]


def test_without_keys_everything_is_open(make_client: "MakeClient") -> None:
    with make_client() as client:
        assert client.post("/rerank", json=BODY).status_code == 200
        assert "security" not in client.get("/openapi.json").text
