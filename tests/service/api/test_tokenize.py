from typing import Any

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs


def test_tei_s_form(client: TestClient) -> None:
    answer = client.post("/tokenize", json={"inputs": ["two  words", ""]}).json()
    assert [[token["text"] for token in tokens] for tokens in answer] == [["two", "words"], []]
    first, second = answer[0]
    assert list(first) == ["id", "text", "special", "start", "stop"]
    assert (second["special"], second["start"], second["stop"]) == (False, 5, 10)
    assert isinstance(first["id"], int)


def test_tei_s_form_of_one_text(client: TestClient) -> None:
    answer = client.post("/tokenize", json={"inputs": "one", "add_special_tokens": False}).json()
    assert [[token["text"] for token in tokens] for tokens in answer] == [["one"]]


def test_vllm_s_form(client: TestClient) -> None:
    body = {"model": "any", "prompt": "two words", "add_special_tokens": True}
    answer = client.post("/tokenize", json=body).json()
    assert list(answer) == ["count", "max_model_len", "tokens", "token_strs"]
    assert (answer["count"], answer["max_model_len"], answer["token_strs"]) == (2, 50, None)
    [tei] = client.post("/tokenize", json={"inputs": "two words"}).json()
    assert answer["tokens"] == [token["id"] for token in tei]
    body["return_token_strs"] = True
    assert client.post("/tokenize", json=body).json()["token_strs"] == ["two", "words"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, None),
        ({"messages": []}, 422, None),
        ({"inputs": []}, 400, "inputs"),
        ({"inputs": 3}, 422, "inputs"),
        ({"inputs": [3]}, 422, "inputs"),
        ({"prompt": ["a"]}, 422, "prompt"),
        ({"prompt": "a" * 1_000_001}, 422, "prompt"),
        ({"inputs": ["a" * 500_000, "b" * 500_000]}, 422, "inputs"),
    ],
)
def test_a_bad_body(
    client: TestClient, body: dict[str, Any], status: int, field: str | None
) -> None:
    response = client.post("/tokenize", json=body)
    assert response.status_code == response.json()["code"] == status
    assert (response.json()["param"] or "").split(".")[0] == (field or "")


def test_no_text_is_logged_and_nothing_counts_as_a_ranking(client: TestClient) -> None:
    with capture_logs() as lines:
        assert client.post("/tokenize", json={"prompt": "secret words"}).status_code == 200
    assert "secret" not in str(lines)
    assert [line["log_level"] for line in lines if line["event"] == "request"] == ["debug"]


def test_it_waits_for_the_model_and_its_own_turn(client: TestClient) -> None:
    client.app.state.worker.drain()  # type: ignore[attr-defined]
    response = client.post("/tokenize", json={"prompt": "a"})
    assert (response.status_code, response.json()["error_type"]) == (503, "Unhealthy")
