from typing import Any

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

BODY = {"query": "secretquery", "texts": ["secretone", "secrettwo words"], "model": "secretname"}


def lines_of(client: TestClient, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
    with capture_logs() as lines:
        client.request(*arguments, **options)
    return [dict(line) for line in lines if line["event"] == "request"]


def test_a_rerank_request_has_one_line(client: TestClient) -> None:
    [line] = lines_of(client, "POST", "/v1/rerank", json=BODY, headers={"X-Request-ID": "mine"})
    assert line.pop("duration_ms") > 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "route": "/v1/rerank",
        "status": 200,
        "request_id": "mine",
        "dialect": "tei",
        "reason": None,
        "key": None,
        "num_documents": 2,
        "num_tokens": 4,
    }


def test_an_error_names_its_reason(client: TestClient) -> None:
    [line] = lines_of(client, "POST", "/rerank", content=b"{")
    assert (line["status"], line["reason"], line["dialect"]) == (400, "invalid", None)


def test_probes_are_logged_at_debug_without_the_path(client: TestClient) -> None:
    [line] = lines_of(client, "GET", "/secretpath?secret=1")
    assert (line["log_level"], line["route"], line["status"]) == ("debug", None, 404)


def test_a_line_holds_the_route_and_never_the_path(client: TestClient) -> None:
    [line] = lines_of(client, "POST", "/v1/retrieval/secret/reranking", json=BODY)
    assert line["route"] == "/v1/retrieval/{rest:path}/reranking"


@pytest.mark.parametrize("change", [{}, {"top_n": -1}, {"texts": [{"a": "secret"}]}, {"query": ""}])
def test_no_line_holds_text_of_the_caller(client: TestClient, change: dict[str, Any]) -> None:
    with capture_logs() as lines:
        client.post("/rerank?secret=1", json=BODY | change)
    assert lines
    assert "secret" not in str(lines)


@pytest.mark.parametrize("given", ["a", "x" * 128, "with space ~!", "0b7f-1"])
def test_a_valid_request_id_is_echoed(client: TestClient, given: str) -> None:
    response = client.post("/rerank", json=BODY, headers={"X-Request-ID": given})
    assert response.headers["x-request-id"] == given


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"tab\there", b"\xc3\xa9", b"\x7f"])
def test_any_other_request_id_is_replaced(client: TestClient, given: bytes) -> None:
    responses = [client.get("/health", headers={b"X-Request-ID": given}) for _ in range(2)]
    ids = {response.headers["x-request-id"] for response in responses}
    assert len(ids) == 2
    assert all(len(made) == 32 and made.isalnum() for made in ids)
