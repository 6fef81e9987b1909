"""A body's instruction reaches a prompt that has a place for it, and is ignored aloud by others;
and a yes/no reranker, which has one, behind the whole service."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from blockrank_server.models.prompt.request import Document, EncodedRequest
from blockrank_server.models.ranker import Ranker
from blockrank_server.service.dialects.registry import DIALECTS

if TYPE_CHECKING:
    from blockrank_server.service.dialects.base import Dialect
    from tests.service.conftest import FakeRanker, MakeClient

EVERY_DIALECT = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
SPELLED = pytest.mark.parametrize("field", ["instruction", "instruct"])
DOCUMENTS: list[Document] = ["money", {"title": "tree", "text": "stone"}]
BODY = {"query": "river bank", "documents": [*DOCUMENTS, " "]}


@pytest.fixture
def instructions() -> list[str]:
    """Hold the instructions that the ranker was given."""
    return []


@pytest.fixture
def taking_client(
    fake_ranker: "type[FakeRanker]", instructions: list[str], make_client: "MakeClient"
) -> Iterator[TestClient]:
    """A client of a ranker whose prompt has a place for an instruction."""

    class Prompt:
        takes_summary, takes_instruction = False, True

    class Instructed(fake_ranker):  # type: ignore[misc, valid-type]
        def encode(
            self, query: str, documents: Sequence[Any], *, instruction: str = "", **options: Any
        ) -> EncodedRequest:
            instructions.append(instruction)
            encoded: EncodedRequest = super().encode(query, documents, **options)
            return encoded

    ranker = Instructed()
    ranker.card = ranker.card.model_copy(update={"prompt": Prompt()})
    with make_client(ranker) as client:
        yield client


@SPELLED
@EVERY_DIALECT
def test_every_dialect_takes_an_instruction(
    dialect: "type[Dialect]", field: str, taking_client: TestClient, instructions: list[str]
) -> None:
    for more in ({field: "be kind"}, {field: None}, {}):
        answer = taking_client.post(dialect.path, json=dialect.example | more)
        assert answer.status_code == 200
        assert "X-Rerank-Warning" not in answer.headers
    assert instructions == ["be kind", "", ""]


@SPELLED
@EVERY_DIALECT
def test_a_prompt_without_a_place_ignores_it_aloud(
    dialect: "type[Dialect]", field: str, client: TestClient
) -> None:
    plain = client.post(dialect.path, json=dialect.example)
    given = client.post(dialect.path, json=dialect.example | {field: "be kind"})
    assert [answer.status_code for answer in (plain, given)] == [200] * 2
    expected = f"{field} is ignored: the model's prompt has no place for it"
    assert given.headers["X-Rerank-Warning"] == expected
    counted = f'rerank_ignored_fields_total{{field="{field}"}} 1.0'
    assert counted in client.get("/metrics").text


@pytest.fixture(scope="module")
def ranker(make_yes_no: Callable[..., Path]) -> Ranker:
    return Ranker.open(make_yes_no(), device="cpu", dtype="float32")


@pytest.fixture
def yes_no_client(ranker: Ranker, make_client: Callable[..., Any]) -> Iterator[TestClient]:
    with make_client(ranker) as client:
        yield client


def test_a_yes_no_reranker_answers_with_probabilities(
    yes_no_client: TestClient, ranker: Ranker
) -> None:
    answer = yes_no_client.post("/rerank", json=BODY)
    assert answer.status_code == 200
    scores = {r["index"]: r["relevance_score"] for r in answer.json()["results"]}
    expected = ranker.rank("river bank", DOCUMENTS)
    assert [scores[0], scores[1]] == pytest.approx(expected, rel=1e-6)
    assert all(0 < score < 1 for score in expected)
    assert scores[2] == 0  # it is blank
    for _ in range(2):  # nothing is kept from the first time
        more = yes_no_client.post("/rerank", json=BODY | {"instruction": "find trees"})
        found = ranker.rank("river bank", DOCUMENTS, instruction="find trees")
        got = {r["index"]: r["relevance_score"] for r in more.json()["results"]}
        assert [got[0], got[1]] == pytest.approx(found, rel=1e-6)
    assert "X-Rerank-Warning" not in more.headers


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"explain": True}, "its scores are verdicts, not attention"),
        ({"instruction": "word " * 40}, "instruction has at least 40 tokens, the limit is 32"),
        ({"documents": ["word " * 50], "truncate": "NONE"}, "documents[0] has at least 5"),
        ({"query": "word " * 50, "truncate": "NONE"}, "query has at least 5"),
    ],
)
def test_what_it_cannot_do_is_refused(
    fields: dict[str, Any], message: str, yes_no_client: TestClient
) -> None:
    answer = yes_no_client.post("/rerank", json=BODY | fields)
    assert answer.status_code == 422
    assert message in answer.json()["message"]


def test_it_ignores_a_summary_and_says_what_it_cut(yes_no_client: TestClient) -> None:
    more = {"summary": "Ann", "documents": ["word " * 50, "a"]}
    answer = yes_no_client.post("/rerank", json=BODY | more)
    assert answer.json()["meta"]["warnings"] == [
        "summary is ignored: the model's prompt has no place for it",
        "1 of 2 documents truncated: 0",
    ]


def test_its_card_is_told(yes_no_client: TestClient) -> None:
    found = yes_no_client.get("/info").json()
    assert (found["card"]["kind"], found["card"]["verdict"]) == (
        "yes_no",
        {"yes": "yes", "no": "no"},
    )
    assert (found["num_layers_kept"], found["max_score"]) == (3, 1.0)
