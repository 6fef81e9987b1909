"""Elasticsearch's inference services custom, hugging_face and cohere, as the page creates them."""

import json
from typing import Any

import pytest

from client_page import blocks
from contract import DOCUMENTS, ORDER, QUERY, TOO_MANY
from live_server import LiveServer
from replica import Answer, JavaDouble, at_path, compact, read_java, send

BLOCKS = {json.loads(block.text)["service"]: block for block in blocks(title="Elasticsearch")}


def settings(service: str, url: str) -> Any:
    return json.loads(BLOCKS[service].at(url))["service_settings"]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}


def custom(url: str, documents: list[str], **secrets: str) -> Answer:
    found = settings("custom", url)
    values = found["secret_parameters"] | secrets
    values |= {"query": compact(QUERY), "input": compact(documents)}

    def filled(template: str) -> str:
        for name, value in values.items():
            template = template.replace(f"${{{name}}}", value)
        assert "${" not in template
        return template

    headers = {name: filled(text) for name, text in found["headers"].items()}
    return send("POST", filled(found["url"]), headers, filled(found["request"]).encode())


def hugging_face(url: str, documents: list[str], **more: Any) -> Answer:
    found = settings("hugging_face", url)
    body = {"texts": documents, "query": QUERY} | more
    return send("POST", found["url"], bearer(found["api_key"]), compact(body).encode())


def cohere(url: str, documents: list[str], **more: Any) -> Answer:
    found = settings("cohere", url)
    body = {"model": found["model_id"], "query": QUERY, "documents": documents} | more
    headers = bearer(found["api_key"]) | {"Request-Source": "unspecified:elasticsearch"}
    return send("POST", found["url"], headers, compact(body).encode())


def only(item: dict[str, Any], allowed: set[str]) -> None:
    """throwUnknownField, and a document that must be an object."""
    assert set(item) <= allowed
    assert isinstance(item["index"], int)
    if "document" in item:
        assert isinstance(item["document"], dict)


def test_custom_finds_as_many_indices_and_scores_as_documents(server: LiveServer) -> None:
    answer = custom(server.url, DOCUMENTS)
    parser = settings("custom", server.url)["response"]["json_parser"]
    found = read_java(answer.body)
    assert at_path(found, parser["reranked_index"]) == ORDER
    scores = at_path(found, parser["relevance_score"])
    assert len(scores) == len(DOCUMENTS)
    assert all(isinstance(score, JavaDouble) for score in scores)


@pytest.mark.parametrize("more", [{}, {"return_text": True}, {"top_n": 2, "return_text": False}])
def test_hugging_face_meets_no_field_it_does_not_know(
    server: LiveServer, more: dict[str, Any]
) -> None:
    found = read_java(hugging_face(server.url, DOCUMENTS, **more).body)
    assert isinstance(found, list)
    for item in found:
        only(item, {"index", "score", "relevance_score", "text", "document"})
    assert [item["index"] for item in found] == ORDER[: more.get("top_n")]


@pytest.mark.parametrize("more", [{}, {"return_documents": True, "top_n": 2}])
def test_cohere_meets_no_field_it_does_not_know(server: LiveServer, more: dict[str, Any]) -> None:
    answer = cohere(server.url, DOCUMENTS, **more)
    # Its scanner looks for results until the first object ends.
    assert b"}" not in answer.body.partition(b'"results"')[0]
    results = read_java(answer.body)["results"]
    for item in results:
        only(item, {"index", "relevance_score", "document"})
        assert ("document" in item) == more.get("return_documents", False)
    assert [item["index"] for item in results] == ORDER[: more.get("top_n")]


def test_no_score_is_below_zero(server: LiveServer) -> None:
    """A negative one breaks the rank window of its retriever (elasticsearch#120670)."""
    found = read_java(hugging_face(server.url, DOCUMENTS).body)
    assert all(item["score"].value() >= 0 for item in found)


def test_errors_are_texts_where_each_service_looks(server: LiveServer) -> None:
    answers = [cohere(server.url, TOO_MANY), hugging_face(server.url, TOO_MANY)]
    assert [answer.status for answer in answers] == [422, 422]
    told, found = (json.loads(answer.body) for answer in answers)
    assert "maximum allowed batch size" in told["message"]
    assert "maximum allowed batch size" in found["error"]
    wrong = custom(server.url, DOCUMENTS, api_key="wrong")
    assert (wrong.status, json.loads(wrong.body)["error"]) == (401, "API key is not valid")


def test_overload_is_a_status_that_all_three_try_again(server: LiveServer) -> None:
    with server.overloaded():
        answers = [service(server.url, DOCUMENTS) for service in (custom, hugging_face, cohere)]
    assert [answer.status for answer in answers] == [429] * 3
