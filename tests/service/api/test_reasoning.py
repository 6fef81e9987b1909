"""A reasoning reranker behind HTTP, out of rank1's tiny checkpoint."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from starlette.testclient import TestClient

from blockrank_server.models.checkpoint.card import BUILT_IN
from blockrank_server.models.reasoning_ranker import ReasoningRanker
from blockrank_server.service.dialects.registry import DIALECTS
from blockrank_server.service.open_ranker import open_ranker
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.service.dialects.base import Dialect
    from tests.service.conftest import FakeRanker, MakeClient

CASE = json.loads(
    (Path(__file__).parents[2] / "fixtures/rank1/cases.jsonl").read_text().splitlines()[0]
)
BODY: dict[str, Any] = {
    "query": CASE["query"],
    "documents": [CASE["passage"], "", "A glacier moves about a metre a day."],
}
# By the fixture's name, and the tokens that a chain may have.
Open = Callable[..., ReasoningRanker]


@pytest.fixture(scope="module")
def open_rank1(tmp_path_factory: pytest.TempPathFactory, fixtures: Path) -> Open:
    def open_(name: str = "rank1", max_tokens: int = 24) -> ReasoningRanker:
        fields = json.loads((BUILT_IN / "jhu-clsp--rank1-7b.json").read_bytes())
        fields["chain"] |= {"max_tokens": max_tokens, "max_context": 4096}
        fields["limits"] |= {"max_document_tokens": 64, "max_query_tokens": 32}
        card = tmp_path_factory.mktemp("card") / "card.json"
        card.write_text(json.dumps(fields))
        settings = Settings(model=str(fixtures / name), card=str(card), device="cpu")
        opened = open_ranker(settings)
        assert isinstance(opened, ReasoningRanker)
        return opened

    return open_


@pytest.fixture(scope="module")
def rank1(open_rank1: Open) -> ReasoningRanker:
    return open_rank1()


@pytest.fixture
def client(make_client: "MakeClient", rank1: ReasoningRanker) -> Iterator[TestClient]:
    with make_client(cast("FakeRanker", rank1)) as client:
        yield client


def by_index(client: TestClient, body: dict[str, Any], **options: Any) -> dict[int, Any]:
    response = client.post("/rerank", json=body, **options)
    assert response.status_code == 200, response.text
    return {result["index"]: result for result in response.json()["results"]}


def test_scores_are_the_golden_ones_and_blank_documents_have_none(client: TestClient) -> None:
    results = by_index(client, BODY)
    expected = CASE["expected"]["exact"]["score"]
    assert results[0]["relevance_score"] == pytest.approx(expected, abs=1e-5)
    assert results[1]["relevance_score"] == 0.0
    assert 0 < results[2]["relevance_score"] < 1
    assert not any("reasoning" in result or "explanation" in result for result in results.values())


@pytest.mark.parametrize("name", ["rank1", "rank1-awq"])
def test_a_score_does_not_depend_on_the_list(name: str, open_rank1: Open) -> None:
    ranker = open_rank1(name)
    key = "expected" if name == "rank1" else "expected_awq"
    alone = ranker.rank(CASE["query"], [CASE["passage"]])
    listed = ranker.rank(CASE["query"], ["One more.", CASE["passage"], "And a third one."])
    assert alone == pytest.approx([CASE[key]["exact"]["score"]], abs=1e-5)
    assert listed[1] == pytest.approx(alone[0], abs=1e-5)
    assert ranker.info.quantization == ("none" if name == "rank1" else "awq")


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_every_dialect_gives_scores_between_0_and_1(
    dialect: type["Dialect"], client: TestClient
) -> None:
    response = client.post(dialect.path, json=dialect.example)
    assert response.status_code == 200, response.text
    scores = list(_scores(response.json()))
    assert scores
    assert all(0 <= score <= 1 for score in scores)


def _scores(value: Any) -> Iterator[float]:
    """Find the numbers of an answer that are named after scores, wherever they are."""
    if isinstance(value, list):
        for each in value:
            yield from _scores(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if isinstance(each, float) and ("score" in name or name in ("logit", "value")):
                yield each
            yield from _scores(each)


def test_explain_returns_the_chain(client: TestClient) -> None:
    response = client.post("/rerank", json=BODY | {"explain": True})
    results = {each["index"]: each for each in response.json()["results"]}
    want = CASE["expected"]
    assert results[0]["reasoning"] == {
        "text": want["chain"],
        "ended": "verdict",
        "read": "verdict",
        "tokens": len(want["generated_ids"]),
    }
    assert "reasoning" not in results[1]
    generated = sum(each["reasoning"]["tokens"] for each in results.values() if "reasoning" in each)
    usage = response.json()["usage"]
    assert usage["completion_tokens"] == generated
    assert usage["total_tokens"] == usage["prompt_tokens"] + generated
    assert response.json()["meta"]["tokens"]["output_tokens"] == generated


def test_chains_are_counted_by_what_ended_them(client: TestClient) -> None:
    before = client.get("/metrics").text
    assert 'rerank_chains_total{ended="deadline"} 0.0' in before
    results = by_index(client, BODY | {"explain": True})
    after = client.get("/metrics").text
    tokens = results[0]["reasoning"]["tokens"] + results[2]["reasoning"]["tokens"]
    assert f"rerank_generated_tokens_total {tokens}.0" in after
    assert 'rerank_chains_total{ended="verdict"} ' in after
    assert "rerank_chain_tokens_count 2.0" in after


def test_a_near_deadline_forces_verdicts_instead_of_an_error(
    make_client: "MakeClient", open_rank1: Open
) -> None:
    ranker = open_rank1(max_tokens=3900)
    # Chains that do not end by themselves.
    ranker._rules = replace(ranker._rules, close=(5,) * 9, end_of_text=frozenset())
    body = {"query": "q", "documents": [f"{i} glaciers" for i in range(12)], "explain": True}
    with make_client(cast("FakeRanker", ranker)) as client:
        results = by_index(client, body, headers={"X-Request-Timeout-Ms": "3000"})
        assert {each["reasoning"]["ended"] for each in results.values()} == {"deadline"}
        assert all(each["reasoning"]["tokens"] > 1 for each in results.values())
        assert all(0 < each["relevance_score"] < 1 for each in results.values())
        assert 'rerank_chains_total{ended="deadline"} 12.0' in client.get("/metrics").text


def test_info_tells_the_kind_and_the_deadline(client: TestClient) -> None:
    info = client.get("/info").json()
    assert info["card"]["kind"] == "reasoning"
    assert info["request_timeout_ms"] == 120_000
    assert info["max_score"] == 1.0
    assert info["document_store"] is None
    assert info["num_layers_kept"] == info["num_layers"] == 4


def test_what_it_has_no_place_for_is_ignored_or_refused(client: TestClient) -> None:
    response = client.post("/rerank", json=BODY | {"summary": "a book"})
    assert "summary is ignored" in " ".join(response.json()["meta"]["warnings"])
    assert client.post("/documents", json={"documents": ["a"]}).status_code == 404
    long = client.post("/rerank", json=BODY | {"documents": ["word " * 99], "truncate": "NONE"})
    assert long.status_code == 422
    assert "documents[0] has at least" in long.text


def test_too_many_documents_are_refused_with_the_limit(client: TestClient) -> None:
    response = client.post("/rerank", json=BODY | {"documents": ["a"] * 101})
    assert response.status_code == 422
    assert "101 > maximum allowed batch size 100" in response.text


@pytest.mark.parametrize("fields", [{"long_documents": "chunk"}, {"max_chunks_per_doc": 3}])
def test_chunks_are_refused(fields: dict[str, Any], client: TestClient) -> None:
    response = client.post("/rerank", json=BODY | fields)
    assert response.status_code == 422
    [field] = fields
    assert response.json()["param"] == field
    assert response.json()["message"].startswith(f"{field} is not for ")


def test_a_model_that_does_not_reason_streams_nothing(make_client: "MakeClient") -> None:
    body = {"query": "ice", "documents": ["One."]}
    with make_client() as client:
        answer = client.post("/rerank", json=body | {"stream": True})
        assert answer.status_code == 422
        assert answer.json()["param"] == "stream"
        assert "is of kind attention, not reasoning" in answer.json()["message"]
        assert client.post("/rerank", json=body | {"stream": False}).status_code == 200
