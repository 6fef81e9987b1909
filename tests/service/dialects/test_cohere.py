from collections.abc import Callable
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from blockrank_server.service.dialects.cohere import Cohere
from blockrank_server.service.dialects.request import RerankRequest
from blockrank_server.service.errors import InferenceError, InvalidFieldError

AnswerBytes = Callable[..., bytes]
BODY = {"query": "q", "documents": ["x", "y"]}


def test_the_answer_byte_by_byte(answer_bytes: AnswerBytes) -> None:
    # Elasticsearch stops at the first "}" when it looks for results: they come before any object.
    assert answer_bytes(Cohere, BODY, "0.25", "0.75") == (
        b'{"id":"rerank-an-id",'
        b'"results":[{"index":1,"relevance_score":0.75},{"index":0,"relevance_score":0.25}],'
        b'"meta":{"api_version":{"version":"2"},"billed_units":{"search_units":1},'
        b'"tokens":{"input_tokens":9,"output_tokens":0}},'
        b'"usage":{"prompt_tokens":9,"total_tokens":9},'
        b'"model":"m","object":"rerank","created":1}'
    )


def test_a_document_is_an_object_and_never_null(answer_bytes: AnswerBytes) -> None:
    asked = orjson.loads(answer_bytes(Cohere, BODY | {"return_documents": True}, "0.25", "0.75"))
    assert asked["results"] == [
        {"index": 1, "relevance_score": 0.75, "document": {"text": "y"}},
        {"index": 0, "relevance_score": 0.25, "document": {"text": "x"}},
    ]
    for value in (False, None):
        body = BODY | {"return_documents": value}
        assert b"document" not in answer_bytes(Cohere, body, "0.25", "0.75")


@pytest.mark.parametrize(("num_documents", "units"), [(1, 1), (100, 1), (101, 2), (1000, 10)])
def test_a_unit_is_billed_for_each_hundred(
    answer_bytes: AnswerBytes, num_documents: int, units: int
) -> None:
    body = {"query": "q", "documents": ["x"] * num_documents}
    answer = orjson.loads(answer_bytes(Cohere, body))
    assert answer["meta"]["billed_units"] == {"search_units": units}


def test_warnings_are_in_meta_after_what_clients_look_for(answer_bytes: AnswerBytes) -> None:
    answer = orjson.loads(answer_bytes(Cohere, BODY, warnings=("one", "two")))
    assert list(answer["meta"]) == ["api_version", "billed_units", "tokens", "warnings"]
    assert answer["meta"]["warnings"] == ["one", "two"]


def test_query_and_documents_may_be_objects() -> None:
    body = {"query": {"text": "q"}, "documents": [{"text": "x", "title": "t"}, {"a": "b"}]}
    request = Cohere.read(body).request()
    assert request == RerankRequest("q", ({"title": "t", "text": "x"}, "a: b"))


def test_rank_fields_choose_what_is_ranked() -> None:
    body = {"query": "q", "documents": [{"a": "b", "text": "no"}], "rank_fields": ["a"]}
    assert Cohere.read(body).request().documents == ("b",)


@pytest.mark.parametrize("fields", [None, ["text"], ["title", "text"]])
def test_an_object_comes_back_as_it_was_sent(
    answer_bytes: AnswerBytes, fields: list[str] | None
) -> None:
    given = {"id": 7, "text": "x", "title": "t", "metadata": {"tags": ["a", None, 1.5]}}
    body = {"query": "q", "documents": ["y", given], "rank_fields": fields}
    answer = orjson.loads(answer_bytes(Cohere, body | {"return_documents": True}, "0.25", "0.75"))
    assert [item["document"] for item in answer["results"]] == [given, {"text": "y"}]
    assert Cohere.read(body | {"return_documents": True}).request().warnings == ()


def test_an_object_without_a_text_gets_what_was_ranked_as_its_text(
    answer_bytes: AnswerBytes,
) -> None:
    body: dict[str, Any] = {"query": "q", "documents": [{"a": "b"}, {"a": 1, "text": None}]}
    body |= {"return_documents": True, "rank_fields": ["a"]}
    answer = orjson.loads(answer_bytes(Cohere, body, "0.75", "0.25"))
    found = [item["document"] for item in answer["results"]]
    assert found == [{"a": "b", "text": "b"}, {"a": 1, "text": "1"}]
    assert Cohere.read(body).request().warnings == ()


def test_a_text_that_rank_fields_pass_over_is_lost_aloud(answer_bytes: AnswerBytes) -> None:
    # Clients of Cohere's first API read what was ranked from the field text.
    body: dict[str, Any] = {"query": "q", "documents": [{"title": "t", "text": "x"}]}
    body["rank_fields"] = ["title"]
    asked = body | {"return_documents": True}
    answer = orjson.loads(answer_bytes(Cohere, asked, "1.0"))
    assert answer["results"][0]["document"] == {"title": "t", "text": "t"}
    [warning] = Cohere.read(asked).request().warnings
    assert warning.startswith("the text of a document comes back as rank_fields chose it")
    assert Cohere.read(body).request().warnings == ()


def test_a_document_that_is_no_text_is_named() -> None:
    with pytest.raises(InvalidFieldError, match=r"documents\[1\] is neither"):
        Cohere.read({"query": "q", "documents": ["x", 5]}).request()


def test_a_failed_model_is_a_500() -> None:
    assert Cohere.inference_failed is InferenceError


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            {"model": "rerank-v3.5", "top_n": 3, "max_tokens_per_doc": None}, id="langchain-cohere"
        ),
        pytest.param({"model": "jina-reranker-v1-base-en", "top_n": None}, id="langchain-jina"),
        pytest.param({"model": "rerank-v3.5", "top_n": 10, "max_tokens_per_doc": 4096}, id="stack"),
        pytest.param({"model": "m", "top_n": 3, "return_documents": True}, id="dify"),
        pytest.param(
            {"model": "m", "top_n": 0, "truncate_prompt_tokens": -1, "priority": 0}, id="vllm"
        ),
    ],
)
def test_what_clients_send_is_answered_in_full(client: TestClient, body: dict[str, Any]) -> None:
    documents = ["Berlin in Germany", "Paris capital of France", ""]
    body = {"query": "capital of France", "documents": documents} | body
    response = client.post("/v2/rerank", json=body)
    answer = response.json()
    assert response.status_code == 200
    assert sorted(item["index"] for item in answer["results"]) == [0, 1, 2]
    assert answer["id"] == f"rerank-{response.headers['x-request-id']}"
    assert answer["meta"]["billed_units"]["search_units"] == 1
    assert answer["usage"]["total_tokens"] > 0
