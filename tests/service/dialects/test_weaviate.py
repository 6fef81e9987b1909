from collections.abc import Callable

import orjson
from starlette.testclient import TestClient

from blockrank_server.service.dialects.weaviate import Weaviate

BODY = {"query": "q", "documents": ["x", "y"], "property": ""}


def test_the_answer_byte_by_byte(answer_bytes: Callable[..., bytes]) -> None:
    assert answer_bytes(Weaviate, BODY, "0.25", "0.75") == (
        b'{"query":"q","scores":[{"document":"x","score":0.25},{"document":"y","score":0.75}],'
        b'"property":null,"score":null}'
    )


def test_scores_stand_where_their_documents_do(client: TestClient) -> None:
    # Weaviate reads scores by place, and sends no Content-Type.
    documents = ["Berlin", "Paris capital", "", "capital capital of"]
    body = {"query": "capital of", "documents": documents, "property": ""}
    response = client.post("/rerank", content=orjson.dumps(body))
    assert "content-type" not in response.request.headers
    scores = response.json()["scores"]
    assert [item["document"] for item in scores] == documents
    assert scores[3]["score"] > scores[1]["score"] > scores[0]["score"] > scores[2]["score"] == 0


def test_no_document_may_be_missing(client: TestClient) -> None:
    body = BODY | {"top_n": 1, "top_k": 1}
    response = client.post("/weaviate/rerank", json=body)
    assert len(response.json()["scores"]) == 2
    warning = "top_n is ignored: an answer in this dialect holds every document"
    assert warning in response.headers["x-rerank-warning"]


def test_an_error_is_a_string(client: TestClient) -> None:
    error = client.post("/rerank", json=BODY | {"documents": []})
    assert (error.status_code, error.json()["error"]) == (400, "documents is empty")
