from collections.abc import Callable

import orjson
from starlette.testclient import TestClient

from blockrank_server.service.dialects.infinity import Infinity

# As infinity_client sends it.
BODY = {
    "query": "q",
    "documents": ["x", "y"],
    "return_documents": True,
    "raw_scores": False,
    "model": "default/not-specified",
    "top_n": None,
}


def test_the_answer_byte_by_byte(answer_bytes: Callable[..., bytes]) -> None:
    assert answer_bytes(Infinity, BODY, "0.25", "0.75") == (
        b'{"id":"rerank-an-id",'
        b'"results":[{"index":1,"relevance_score":0.75,"document":"y"},'
        b'{"index":0,"relevance_score":0.25,"document":"x"}],'
        b'"meta":{"api_version":{"version":"2"},"billed_units":{"search_units":1},'
        b'"tokens":{"input_tokens":9,"output_tokens":0}},'
        b'"usage":{"prompt_tokens":9,"total_tokens":9},'
        b'"model":"m","object":"rerank","created":1}'
    )


def test_a_document_is_never_null(answer_bytes: Callable[..., bytes]) -> None:
    body = BODY | {"return_documents": False}
    assert b"document" not in answer_bytes(Infinity, body, "0.25", "0.75")


def test_objects_are_taken_as_in_cohere_s_dialect(answer_bytes: Callable[..., bytes]) -> None:
    body = BODY | {"documents": [{"text": "x"}, {"a": "b"}]}
    answer = orjson.loads(answer_bytes(Infinity, body, "0.75", "0.25"))
    assert [item["document"] for item in answer["results"]] == ["x", "a: b"]


def test_there_is_no_room_for_an_object_and_that_is_told() -> None:
    body = BODY | {"documents": ["x", {"text": "x", "title": "t"}]}
    [warning] = Infinity.read(body).request().warnings
    assert warning == "of an object only the text that was ranked comes back in this dialect"
    for change in ({"return_documents": False}, {"documents": ["x", {"text": "x"}]}):
        assert Infinity.read(body | change).request().warnings == ()


def test_the_pinned_path_answers_a_body_that_looks_like_cohere_s(client: TestClient) -> None:
    # LiteLLM's infinity provider: the bytes of its hosted_vllm, and a string is needed.
    body = {"query": "q", "documents": ["x"], "return_documents": True, "model": "m", "top_n": 1}
    pinned = client.post("/infinity/rerank", json=body).json()["results"][0]
    shared = client.post("/rerank", json=body).json()["results"][0]
    assert (pinned["document"], shared["document"]) == ("x", {"text": "x"})
