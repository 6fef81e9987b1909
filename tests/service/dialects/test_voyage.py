from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from blockrank_server.service.dialects.voyage import Voyage

# As the voyageai package sends it.
BODY = {
    "query": "q",
    "documents": ["x", "y"],
    "model": "rerank-2.5",
    "top_k": None,
    "truncation": True,
}


def test_the_answer_byte_by_byte(answer_bytes: Callable[..., bytes]) -> None:
    assert answer_bytes(Voyage, BODY, "0.25", "0.75") == (
        b'{"object":"list","data":[{"relevance_score":0.75,"index":1},'
        b'{"relevance_score":0.25,"index":0}],"model":"m","usage":{"total_tokens":9}}'
    )


def test_a_document_comes_back_as_a_string(answer_bytes: Callable[..., bytes]) -> None:
    answer = answer_bytes(Voyage, BODY | {"return_documents": True, "top_k": 1}, "0.25", "0.75")
    assert b'"data":[{"relevance_score":0.75,"index":1,"document":"y"}]' in answer


@pytest.mark.parametrize(("truncation", "is_cut"), [(True, True), (None, True), (False, False)])
def test_truncation_off_means_that_nothing_is_cut(truncation: bool | None, is_cut: bool) -> None:
    assert Voyage.read(BODY | {"truncation": truncation}).request().truncate is is_cut


def test_the_pinned_path_answers_a_body_without_a_mark(client: TestClient) -> None:
    # LangChain4j leaves both marks out when they are not set.
    body = {"query": "q", "documents": ["x"], "model": "rerank-2.5"}
    assert "data" in client.post("/voyage/v1/rerank", json=body).json()
    assert "results" in client.post("/v1/rerank", json=body).json()


def test_an_error_has_a_detail(client: TestClient) -> None:
    # Without one the package raises "Invalid response object".
    response = client.post("/v1/rerank", json=BODY | {"query": ""})
    assert (response.status_code, response.json()["detail"]) == (400, "query is empty")
