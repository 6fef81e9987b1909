from collections.abc import Callable
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from blockrank_server.service.dialects.vllm_score import VllmScore

BODY = {"model": "m", "text_1": "q", "text_2": ["x", "y"]}


def test_the_answer_byte_by_byte(answer_bytes: Callable[..., bytes]) -> None:
    assert answer_bytes(VllmScore, BODY, "0.25", "0.75") == (
        b'{"id":"score-an-id","object":"list","created":1,"model":"m",'
        b'"data":[{"index":0,"object":"score","score":0.25},'
        b'{"index":1,"object":"score","score":0.75}],'
        b'"usage":{"prompt_tokens":9,"total_tokens":9,"completion_tokens":0,'
        b'"prompt_tokens_details":null}}'
    )


@pytest.mark.parametrize(
    "body",
    [
        {"text_1": "q", "text_2": "x"},
        {"text_1": ["q"], "text_2": ["x"]},
        {"queries": "q", "documents": ["x"]},
        {"queries": ["q"], "items": "x"},
        {"data_1": "q", "data_2": ["x"]},
    ],
    ids="-".join,
)
@pytest.mark.parametrize("path", ["/v1/score", "/score", "/invocations"])
def test_every_spelling_of_a_pair(client: TestClient, path: str, body: dict[str, Any]) -> None:
    response = client.post(path, json=body)
    assert [item["score"] for item in response.json()["data"]] == [1.0]


def test_the_same_query_may_be_given_for_each_document(answer_bytes: Callable[..., bytes]) -> None:
    body = BODY | {"text_1": ["q", "q"]}
    assert len(orjson.loads(answer_bytes(VllmScore, body, "0.25", "0.75"))["data"]) == 2


@pytest.mark.parametrize(
    ("change", "status", "field", "message"),
    [
        ({"queries": ["q", "p"]}, 422, "queries", "queries holds 2 different texts"),
        ({"queries": []}, 400, "queries", "queries is empty"),
        ({"queries": " "}, 400, "queries", "queries is empty"),
        ({"items": []}, 400, "items", "items is empty"),
        ({"items": ["x"] * 1001}, 422, "items", "items: batch size 1001 > maximum"),
        ({"items": ["", "long " * 51], "truncate": False}, 422, "items[1]", "items[1] is longer"),
    ],
)
def test_an_error_is_in_the_caller_s_words(
    client: TestClient, change: dict[str, Any], status: int, field: str, message: str
) -> None:
    response = client.post("/v1/score", json={"queries": "q", "items": ["x"]} | change)
    assert (response.status_code, response.json()["param"]) == (status, field)
    assert response.json()["message"].startswith(message)


@pytest.mark.parametrize("body", [{}, {"text_1": "q"}, {"text_2": ["x"]}, {"query": "q"}])
def test_a_missing_side_is_named(client: TestClient, body: dict[str, Any]) -> None:
    response = client.post("/v1/score", json=body)
    assert response.status_code == 422
    assert response.json()["param"] in ("text_1", "text_2")
