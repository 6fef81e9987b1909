from collections.abc import Callable
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from blockrank_server.service.dialects.pinecone import Pinecone
from blockrank_server.service.errors import InvalidFieldError

HEADERS = {"Api-Key": "any", "X-Pinecone-Api-Version": "2025-04"}
BODY: dict[str, Any] = {
    "model": "bge-reranker-v2-m3",
    "query": "q",
    "documents": [{"id": "1", "text": "x", "title": "t"}, {"id": "2", "text": "y"}],
    "parameters": {"truncate": "END"},
}


def test_the_answer_byte_by_byte(answer_bytes: Callable[..., bytes]) -> None:
    assert answer_bytes(Pinecone, BODY, "0.25", "0.75") == (
        b'{"model":"m","data":[{"index":1,"score":0.75,"document":{"id":"2","text":"y"}},'
        b'{"index":0,"score":0.25,"document":{"id":"1","text":"x","title":"t"}}],'
        b'"usage":{"rerank_units":1}}'
    )


def test_documents_can_be_left_out(answer_bytes: Callable[..., bytes]) -> None:
    body = BODY | {"return_documents": False, "top_n": 1}
    assert b'"data":[{"index":1,"score":0.75}]' in answer_bytes(Pinecone, body, "0.25", "0.75")


def test_only_the_field_text_is_ranked_unless_told(answer_bytes: Callable[..., bytes]) -> None:
    assert Pinecone.read(BODY).request().documents == ("x", "y")
    body = BODY | {"rank_fields": ["id", "text"]}
    assert Pinecone.read(body).request().documents == ("1\nx", "2\ny")
    with pytest.raises(InvalidFieldError, match=r"documents\[0\] has none of the fields"):
        Pinecone.read(BODY | {"documents": [{"body": "x"}]}).request()


def test_a_document_may_be_a_text(answer_bytes: Callable[..., bytes]) -> None:
    answer = orjson.loads(answer_bytes(Pinecone, BODY | {"documents": ["x"]}, "1.0"))
    assert answer["data"] == [{"index": 0, "score": 1.0, "document": {"text": "x"}}]


@pytest.mark.parametrize(
    ("change", "is_cut"),
    [
        ({}, True),
        ({"parameters": None}, True),
        ({"parameters": {}}, True),
        ({"parameters": {"truncate": "NONE", "anything": 1}}, False),
        ({"truncate": "NONE"}, False),
    ],
)
def test_truncate_is_one_of_the_parameters(change: dict[str, Any], is_cut: bool) -> None:
    assert Pinecone.read(BODY | change).request().truncate is is_cut


def test_parameters_without_effect_are_ignored_aloud() -> None:
    body = BODY | {"parameters": {"truncate": "NONE", "max_chunks": 1}, "truncate": "END"}
    assert Pinecone.read(body).request().warnings == (
        "parameters other than truncate are ignored: they have no effect here",
        "truncate is ignored: parameters.truncate says that nothing may be cut",
    )
    assert Pinecone.read(BODY).request().warnings == ()


def test_the_header_tells_it_from_dialect_a(client: TestClient) -> None:
    assert "data" in client.post("/rerank", json=BODY, headers=HEADERS).json()
    assert "results" in client.post("/rerank", json=BODY).json()
    assert "data" in client.post("/pinecone/rerank", json=BODY).json()
