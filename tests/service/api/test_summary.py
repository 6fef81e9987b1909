"""A body's summary reaches a prompt that has a place for it, and is ignored aloud by others."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.dialects.registry import DIALECTS

if TYPE_CHECKING:
    from blockrank_server.service.dialects.base import Dialect
    from tests.service.conftest import FakeRanker, MakeClient

EVERY_DIALECT = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
BODY = {"query": "a b", "documents": ["a", "b c", "d"]}
PLACE = ({"text": "About: {summary}"},)
IGNORED = "summary is ignored: the model's prompt has no place for it"


@pytest.fixture
def summaries() -> list[str]:
    """Hold the summaries that the ranker was given."""
    return []


@pytest.fixture
def informed(fake_ranker: "type[FakeRanker]", summaries: list[str]) -> "FakeRanker":
    """A ranker whose prompt has a place for a summary, and cuts it after three characters."""

    class Informed(fake_ranker):  # type: ignore[misc, valid-type]
        def encode(
            self, query: str, documents: Sequence[Any], *, summary: str = "", **options: Any
        ) -> EncodedRequest:
            summaries.append(summary)
            encoded: EncodedRequest = super().encode(query, documents, **options)
            return replace(encoded, summary_truncated=len(summary) > 3)

    ranker = Informed()
    fields = ranker.card.model_dump()
    fields["prompt"]["prefix"] = PLACE
    ranker.card = type(ranker.card).model_validate(fields | {"reusable_documents": False})
    return ranker


@pytest.fixture
def informed_client(informed: "FakeRanker", make_client: "MakeClient") -> Iterator[TestClient]:
    with make_client(informed) as client:
        yield client


@EVERY_DIALECT
def test_every_dialect_takes_a_summary(
    dialect: "type[Dialect]", informed_client: TestClient, summaries: list[str]
) -> None:
    for more in ({"summary": "Ann"}, {"summary": None}, {}):
        answer = informed_client.post(dialect.path, json=dialect.example | more)
        assert answer.status_code == 200
        assert "X-Rerank-Warning" not in answer.headers
    assert summaries == ["Ann", "", ""]


@EVERY_DIALECT
def test_a_prompt_without_a_place_ignores_it_aloud(
    dialect: "type[Dialect]", client: TestClient
) -> None:
    plain = client.post(dialect.path, json=dialect.example)
    blank = client.post(dialect.path, json=dialect.example | {"summary": " \n"})
    given = client.post(dialect.path, json=dialect.example | {"summary": "Ann"})
    assert [answer.status_code for answer in (plain, blank, given)] == [200] * 3
    assert "X-Rerank-Warning" not in blank.headers
    assert given.headers["X-Rerank-Warning"] == IGNORED
    counted = 'rerank_ignored_fields_total{field="summary"} 1.0'
    assert counted in client.get("/metrics").text


def test_a_cut_is_told(informed_client: TestClient) -> None:
    answer = informed_client.post("/rerank", json=BODY | {"summary": "Ann won."})
    assert answer.headers["X-Rerank-Warning"] == "summary was truncated"
    assert answer.json()["meta"]["warnings"] == ["summary was truncated"]


@pytest.mark.parametrize("summary", [7, ["Ann"], {"text": "Ann"}], ids=["number", "list", "object"])
def test_what_is_no_text_is_refused(
    summary: Any, informed_client: TestClient, summaries: list[str]
) -> None:
    answer = informed_client.post("/rerank", json=BODY | {"summary": summary})
    assert answer.status_code == 422
    assert answer.json()["message"] == "summary: Input should be a valid string"
    assert summaries == []


def test_broken_text_in_it_is_replaced(informed_client: TestClient, summaries: list[str]) -> None:
    raw = b'{"query": "a", "documents": ["a"], "summary": "\\ud800"}'
    answer = informed_client.post("/rerank", content=raw)
    assert answer.headers["X-Rerank-Warning"].endswith("replaced by U+FFFD in summary")
    assert summaries == ["\ufffd"]
