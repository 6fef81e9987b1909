"""CORS, gzipped answers and the docs switch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker, MakeClient

BODY = {"query": "q", "texts": ["a", "q"]}
LONG = {"query": "q", "texts": [f"w{i}" for i in range(1000)]}
PAGE = "https://search.example"
ORIGIN = {"Origin": PAGE}
PREFLIGHT = ORIGIN | {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, x-api-key, content-type, x-fern-language",
}


@pytest.fixture
def browser(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]", monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """A client of a server that asks for keys, lets one page in, and fails on every request."""
    ranker = fake_ranker()
    monkeypatch.setattr(ranker, "encode", lambda *_, **__: 1 / 0)
    with make_client(ranker, api_keys=SecretStr("k"), cors_origins=(PAGE,)) as client:
        yield client


def test_cors_is_off_by_default(client: TestClient) -> None:
    preflight = client.options("/rerank", headers=PREFLIGHT)
    assert (preflight.status_code, preflight.headers["allow"]) == (204, "POST, OPTIONS")
    for response in (preflight, client.post("/rerank", json=BODY, headers=ORIGIN)):
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_a_preflight_needs_no_key(browser: TestClient) -> None:
    response = browser.options("/rerank", headers=PREFLIGHT)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == PAGE
    assert "POST" in response.headers["access-control-allow-methods"]
    allowed = response.headers["access-control-allow-headers"]
    assert allowed == PREFLIGHT["Access-Control-Request-Headers"]
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("POST", "/rerank", "", 401),
        ("POST", "/rerank", "k", 500),
        ("POST", "/nope", "k", 404),
        ("PUT", "/health", "k", 405),
        ("GET", "/health", "", 200),
    ],
)
def test_a_page_can_read_every_answer(
    browser: TestClient, method: str, path: str, key: str, status: int
) -> None:
    response = browser.request(method, path, json=BODY, headers=ORIGIN | {"X-API-Key": key})
    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == PAGE
    assert response.headers["access-control-expose-headers"] == "*"
    assert "Origin" in response.headers["vary"]
    assert "x-request-id" in response.headers


def test_another_page_is_not_let_in(browser: TestClient) -> None:
    other = {"Origin": "https://evil.example"}
    refusal = browser.options("/rerank", headers=PREFLIGHT | other)
    assert (refusal.status_code, refusal.json()["code"]) == (400, 400)
    assert refusal.json()["error"] == "Disallowed CORS origin"
    assert refusal.json()["request_id"] == refusal.headers["x-request-id"]
    assert "Origin" in refusal.headers["vary"]
    for response in (
        browser.options("/rerank", headers=PREFLIGHT | other),
        browser.get("/health", headers=other),
    ):
        assert "access-control-allow-origin" not in response.headers


def test_a_star_lets_every_page_in(make_client: "MakeClient") -> None:
    with make_client(cors_origins=("*",)) as client:
        response = client.post("/rerank", json=BODY, headers={"Origin": "https://any.example"})
        assert response.headers["access-control-allow-origin"] == "*"
        assert client.options("/rerank", headers=PREFLIGHT).status_code == 200


def test_a_long_answer_is_gzipped_if_the_caller_takes_it(client: TestClient) -> None:
    def answer(accepted: str | None) -> Any:
        sent = {"Accept-Encoding": accepted or ""}
        return client.post("/rerank", json=LONG, headers=sent)

    plain, packed = answer(None), answer("br, gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(packed.content) / 3
    assert packed.json() == plain.json()
    assert "content-encoding" not in plain.headers
    for response in (plain, packed):
        assert response.headers["vary"] == "Accept-Encoding"
        assert "x-request-id" in response.headers
        assert "server-timing" in response.headers


@pytest.mark.parametrize("accepted", ["gzip;q=0", "br, gzip ; q=0.0 , identity", "deflate"])
def test_a_caller_that_refuses_gzip_gets_none(client: TestClient, accepted: str) -> None:
    response = client.post("/rerank", json=LONG, headers={"Accept-Encoding": accepted})
    assert "content-encoding" not in response.headers
    assert len(response.json()) == 1000


@pytest.mark.parametrize("accepted", ["gzip;q=0.5", "gzip; q=1"])
def test_a_weight_is_no_refusal(client: TestClient, accepted: str) -> None:
    response = client.post("/rerank", json=LONG, headers={"Accept-Encoding": accepted})
    assert response.headers["content-encoding"] == "gzip"


def test_a_short_answer_is_left_as_it_is(client: TestClient) -> None:
    response = client.post("/rerank", json=BODY, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in response.headers


def test_the_docs_can_be_switched_off(make_client: "MakeClient") -> None:
    with make_client(docs=False, api_keys=SecretStr("k")) as client:
        for path in ("/docs", "/redoc", "/openapi.json", "/static-offline-docs/swagger-ui.css"):
            response = client.get(path)
            assert (response.status_code, response.json()["error_type"]) == (404, "NotFound")
        assert client.post("/rerank", json=BODY, headers={"X-API-Key": "k"}).status_code == 200
