"""Two spellings of the query or of the documents in one body."""

from collections.abc import Mapping
from typing import Any

import pytest
from starlette.testclient import TestClient

from blockrank_server.service.dialects.base import Dialect
from blockrank_server.service.dialects.registry import BY_BODY, DIALECTS, dialect_of
from blockrank_server.service.dialects.spellings import DOCUMENTS, QUERY, without_null_spellings

PAIRS = [
    (dialect, other)
    for dialect in DIALECTS
    for other in sorted(
        {*QUERY, *DOCUMENTS} - {dialect.query_fields[0], dialect.documents_fields[0]}
    )
]


def test_every_dialect_s_spellings_are_known() -> None:
    assert {name for dialect in DIALECTS for name in dialect.query_fields} == set(QUERY)
    assert {name for dialect in DIALECTS for name in dialect.documents_fields} == set(DOCUMENTS)


@pytest.mark.parametrize(("dialect", "other"), PAIRS, ids=lambda v: getattr(v, "name", v))
def test_the_one_that_is_not_read_is_named(
    client: TestClient, dialect: type[Dialect], other: str
) -> None:
    query, documents = dialect.query_fields[0], dialect.documents_fields[0]
    used, ignored = (query, "other words") if other in QUERY else (documents, ["c", "d", "e"])
    body = {query: "a", documents: ["a", "b"]}
    response = client.post(dialect.path, json=body | {other: ignored})
    assert response.status_code == 200
    assert response.headers["x-rerank-warning"] == f"{other} is ignored: {used} is read"
    alone = client.post(dialect.path, json=body | {other: None})
    assert alone.status_code == 200
    assert "x-rerank-warning" not in alone.headers


@pytest.mark.parametrize("other", ["texts", "text_2", "items", "data_2"])
def test_on_the_shared_path_the_warning_is_in_meta_too(client: TestClient, other: str) -> None:
    body = {"query": "a", "documents": ["a", "b"], other: ["c"]}
    answer = client.post("/rerank", json=body).json()
    assert answer["meta"]["warnings"] == [f"{other} is ignored: documents is read"]
    assert len(answer["results"]) == 2


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"query": "q", "documents": None, "texts": ["a"]}, "tei"),
        ({"query": "q", "documents": ["a"], "texts": None}, "cohere"),
        ({"query": "q", "documents": ["a"], "passages": None, "input": None}, "cohere"),
        ({"query": "q", "documents": ["a"], "candidates": None}, "cohere"),
        ({"query": "q", "documents": ["a"], "text_1": None, "queries": None}, "cohere"),
        ({"query": None, "text_1": "q", "text_2": None, "items": ["a"]}, "vllm_score"),
        ({"query": None, "queries": "q", "data_1": None, "documents": ["a"]}, "vllm_score"),
        ({"query": "q", "passages": None}, "nvidia"),  # its error names passages
    ],
)
def test_a_null_beside_a_value_is_as_good_as_absent(body: Mapping[str, Any], name: str) -> None:
    fields = without_null_spellings(body)
    dialect = dialect_of(fields, {}, BY_BODY)
    assert dialect.name == name
    if len([value for value in body.values() if value is not None]) == 2:
        assert dialect.read(fields).request().documents == ("a",)
