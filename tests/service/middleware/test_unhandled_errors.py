import os
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from structlog.testing import capture_logs

from blockrank_server.service.middleware.authentication import Authentication
from blockrank_server.service.middleware.request_log import RequestLog
from blockrank_server.service.middleware.request_target import RequestTarget

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker, MakeClient


def test_a_bug_is_logged_with_its_place_and_without_its_text(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]", monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = fake_ranker()

    def encode(query: str, documents: Any, **_: Any) -> None:
        try:
            os.environ[query]
        except KeyError as error:
            raise ValueError(documents) from error

    monkeypatch.setattr(ranker, "encode", encode)
    with make_client(ranker) as client, capture_logs() as lines:
        response = client.post("/rerank", json={"query": "secret q", "texts": ["secret t"]})
    assert response.status_code == 500
    bug = next(line for line in lines if line["event"] == "a bug")
    assert bug["request_id"] == response.headers["x-request-id"]
    assert bug["traceback"].count("in encode") == 2
    assert "ValueError\nafter\n" in bug["traceback"]
    assert bug["traceback"].endswith("KeyError")
    assert "secret" not in str(lines) + response.text


@pytest.mark.parametrize(
    "layer", [CORSMiddleware, GZipMiddleware, Authentication, RequestLog, RequestTarget]
)
def test_a_bug_in_a_middleware_has_the_form_of_errors(
    make_client: "MakeClient", monkeypatch: pytest.MonkeyPatch, layer: type[Any]
) -> None:
    async def fail(*_: Any) -> None:
        raise ValueError("sec" + "ret")

    options = {"api_keys": SecretStr("k"), "cors_origins": ("https://a.example",)}
    with make_client(**options) as client, capture_logs() as lines:
        monkeypatch.setattr(layer, "__call__", fail)
        response = client.get("/health")
    body = response.json()
    assert response.status_code == body["code"] == 500
    assert response.headers["content-type"] == "application/json"
    assert body["request_id"] == response.headers["x-request-id"]
    assert [line["request_id"] for line in lines if line["event"] == "a bug"] == [
        body["request_id"]
    ]
    assert "secret" not in str(lines) + response.text
