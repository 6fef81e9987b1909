"""Documents over the limit: cut as ever, or in chunks where a caller asks for that."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from starlette.testclient import TestClient

from blockrank_server.models.ranker import Ranker
from blockrank_server.service.dialects.registry import DIALECTS
from tests.models.conftest import QUERY_FREE
from tests.service.api.test_score_types import CALIBRATION

if TYPE_CHECKING:
    from blockrank_server.service.dialects.base import Dialect
    from tests.service.conftest import FakeRanker, MakeClient

EVERY_DIALECT = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
LONG = " 🙂 " + " ".join(f"In round {i} the river met bank {i}." for i in range(30)) + "\n"
SHORT = "A bank. Rain."
BODY: dict[str, Any] = {"query": "river", "documents": ["", LONG, SHORT]}
CHUNK: dict[str, Any] = BODY | {"long_documents": "chunk"}
LIMITS = {"max_documents": 120, "max_document_tokens": 64, "max_query_tokens": 16}
Scored = dict[int, dict[str, Any]]


@pytest.fixture(scope="module")
def ranker(open_card: Callable[..., Ranker]) -> Ranker:
    return open_card(limits=LIMITS, calibration=CALIBRATION.model_dump(mode="json"))


@pytest.fixture
def client(make_client: "MakeClient", ranker: Ranker) -> Iterator[TestClient]:
    with make_client(cast("FakeRanker", ranker)) as client:
        yield client


def answer(client: TestClient, body: dict[str, Any], path: str = "/rerank") -> dict[str, Any]:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def by_index(client: TestClient, body: dict[str, Any]) -> Scored:
    return {result["index"]: result for result in answer(client, body)["results"]}


def spans(ranker: Ranker, **options: Any) -> list[tuple[int, int]]:
    return list(ranker.chunker.cut([LONG], **options).spans)


def test_cut_off_is_what_it_was(client: TestClient) -> None:
    plain = answer(client, BODY)
    assert plain["meta"]["warnings"] == ["1 of 3 documents truncated: 1"]
    told = answer(client, BODY | {"long_documents": "truncate"})
    assert told["results"] == plain["results"]
    assert told["meta"]["warnings"] == plain["meta"]["warnings"]


def test_the_score_is_that_of_the_best_chunk_which_is_named(
    client: TestClient, ranker: Ranker
) -> None:
    texts = [LONG[start:end] for start, end in spans(ranker)]
    assert len(texts) > 3
    for fields in ({}, {"raw_scores": True}, {"score_type": "share"}):
        by_hand = by_index(client, BODY | fields | {"documents": ["", *texts, SHORT]})
        best = max(range(1, len(texts) + 1), key=lambda i: by_hand[i]["relevance_score"])
        found = by_index(client, CHUNK | fields)
        assert [found[i]["relevance_score"] for i in (1, 2)] == pytest.approx(
            [by_hand[i]["relevance_score"] for i in (best, len(texts) + 1)], rel=1e-5
        )
        chunk = found[1]["chunk"]
        assert LONG[chunk["start"] : chunk["end"]] == texts[best - 1]
        assert found[2]["chunk"] == {"start": 0, "end": len(SHORT)}
        assert "chunk" not in found[0]  # it is blank


def test_min_score_and_top_n_hold_for_documents(client: TestClient) -> None:
    scores = sorted(r["relevance_score"] for r in answer(client, CHUNK)["results"])
    [first] = answer(client, CHUNK | {"top_n": 1})["results"]
    assert first["relevance_score"] == scores[-1]
    kept = answer(client, CHUNK | {"min_score": scores[-2]})["results"]
    assert [result["relevance_score"] for result in kept] == scores[:0:-1]


def test_what_is_computed_is_counted(client: TestClient, ranker: Ranker) -> None:
    texts = [LONG[start:end] for start, end in spans(ranker)]
    by_hand = answer(client, BODY | {"documents": [*texts, SHORT]})
    found = answer(client, CHUNK | {"documents": [LONG, SHORT]})
    assert found["usage"] == by_hand["usage"]
    assert "warnings" not in found["meta"]
    assert len(found["results"]) == 2
    [units] = answer(client, CHUNK | {"documents": [LONG] * 8})["meta"]["billed_units"].values()
    assert units == 2  # one for each hundred chunks begun


def test_chunks_are_known_when_they_come_back(
    make_client: "MakeClient", open_card: Callable[..., Ranker]
) -> None:
    keeping = open_card(50_000_000, limits=LIMITS, **QUERY_FREE)
    with make_client(cast("FakeRanker", keeping), document_cache_bytes=50_000_000) as client:
        body = CHUNK | {"documents": [LONG, SHORT, LONG]}
        first = client.post("/rerank", json=body)
        again = client.post("/rerank", json=body | {"query": "rain"})
    num_chunks = 2 * len(spans(keeping)) + 1
    assert first.headers["X-Cached-Documents"] == f"0/{num_chunks}"
    assert again.headers["X-Cached-Documents"] == f"{num_chunks}/{num_chunks}"
    results = {r["index"]: r["relevance_score"] for r in first.json()["results"]}
    assert results[0] == pytest.approx(results[2], rel=1e-5)  # they are duplicates


def test_a_deadline_that_is_too_short_for_all_chunks_tells_what_helps(
    make_client: "MakeClient", ranker: Ranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranker, "warm_up", lambda: ((10, 1.0), (100, 10.0)))
    with make_client(cast("FakeRanker", ranker)) as client:
        response = client.post("/rerank", json=CHUNK, headers={"X-Request-Timeout-Ms": "500"})
    assert response.status_code == 422
    assert "Send fewer documents, lower max_chunks_per_doc, or" in response.json()["message"]


def test_short_documents_have_the_scores_they_had(client: TestClient) -> None:
    documents = {"documents": ["Rain.", {"title": " Bank", "text": " of a river "}, "", "Rain."]}
    plain = by_index(client, BODY | documents)
    found = by_index(client, CHUNK | documents)
    for index, result in found.items():
        result.pop("chunk", None)
        assert result == plain[index]


def test_cohere_s_field_means_chunk_and_adds_no_key(client: TestClient, ranker: Ranker) -> None:
    for path in ("/cohere/v1/rerank", "/rerank", "/v1/rerank"):
        found = answer(client, BODY | {"max_chunks_per_doc": 2}, path)
        keys = {key for result in found["results"] for key in result}
        assert keys == {"index", "relevance_score"}
        assert found["meta"]["warnings"] == ["1 of 3 documents truncated: 1"]
    texts = [LONG[a:b] for a, b in spans(ranker)[:2]]
    by_hand = by_index(client, BODY | {"documents": [*texts, SHORT]})
    best = max(by_hand[i]["relevance_score"] for i in (0, 1))
    scores = {r["index"]: r["relevance_score"] for r in found["results"]}
    assert scores[1] == pytest.approx(best, rel=1e-5)
    many, told = by_index(client, BODY | {"max_chunks_per_doc": 9999}), by_index(client, CHUNK)
    assert many[1]["relevance_score"] == told[1]["relevance_score"]


def test_an_explanation_is_that_of_the_best_chunk(client: TestClient) -> None:
    document = {"title": "Floods", "text": LONG}
    plain = by_index(client, CHUNK | {"documents": [document, SHORT]})
    found = by_index(client, CHUNK | {"documents": [document, SHORT], "explain": True})
    told = found[0].pop("explanation"), found[1].pop("explanation")
    assert found == plain
    chunk = found[0]["chunk"]
    sentences = [LONG[each["start"] : each["end"]] for each in told[0]["sentences"]]
    assert told[0]["sentences"][0]["start"] == chunk["start"]
    assert told[0]["sentences"][-1]["end"] == chunk["end"]
    assert all(sentence.endswith(".") for sentence in sentences)
    assert told[0]["title"]["end"] == 6
    assert "truncated_at" not in told[0]
    assert [(each["start"], each["end"]) for each in told[1]["sentences"]] == [(0, 7), (8, 13)]
    cut = by_index(client, CHUNK | {"explain": True, "max_chunks_per_doc": 2})
    assert 0 < cut[1]["explanation"]["truncated_at"] < len(LONG)


@EVERY_DIALECT
def test_every_dialect_takes_chunks(dialect: "type[Dialect]", client: TestClient) -> None:
    documents = dialect.documents_fields[0]
    example = json.loads(json.dumps(dialect.example).replace("Paris", LONG.strip()))
    plain = client.post(dialect.path, json=example)
    assert f"1 of 2 {documents} truncated: 1" in plain.headers["X-Rerank-Warning"]
    for fields in ({"long_documents": "chunk"}, {"max_chunks_per_doc": 25}):
        found = client.post(dialect.path, json=example | fields)
        assert found.status_code == 200, found.text
        assert "X-Rerank-Warning" not in found.headers
        assert int(found.headers["x-compute-tokens"]) > int(plain.headers["x-compute-tokens"])
        is_told = "long_documents" in fields and dialect.name in ("cohere", "infinity")
        assert ('"chunk"' in found.text) is is_told


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"long_documents": "split"}, "long_documents", "'truncate' or 'chunk'"),
        ({"max_chunks_per_doc": 0}, "max_chunks_per_doc", "greater than or equal to 1"),
        ({"max_tokens_per_doc": 20}, "max_tokens_per_doc", "max_tokens_per_doc is 20, a chunk"),
        ({"documents": [LONG] * 10}, "documents", "chunks or more, the limit is 120: send fewer"),
        ({"texts": [LONG] * 10, "documents": None}, "texts", "texts are 1"),
        (
            {"documents": ["", SHORT, LONG], "max_chunks_per_doc": 2, "truncate": "NONE"},
            "documents[2]",
            "documents[2] has more chunks than max_chunks_per_doc, which is 2",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    fields: dict[str, Any], param: str, message: str, client: TestClient
) -> None:
    body = {name: value for name, value in (CHUNK | fields).items() if value is not None}
    response = client.post("/rerank", json=body)
    assert response.status_code == 422, response.text
    assert response.json()["param"] == param
    assert message in response.json()["message"]


def test_nothing_is_cut_off_where_nothing_may_be(client: TestClient) -> None:
    assert client.post("/rerank", json=BODY | {"truncate": "NONE"}).status_code == 422
    found = answer(client, CHUNK | {"truncate": "NONE"})
    assert found["results"] == answer(client, CHUNK)["results"]


def test_a_card_without_a_calibration_orders_by_shares(
    make_client: "MakeClient", open_card: Callable[..., Ranker]
) -> None:
    with make_client(cast("FakeRanker", open_card(limits=LIMITS))) as client:
        found = answer(client, CHUNK)["results"]
        scores = [result["relevance_score"] for result in found]
        assert scores == sorted(scores, reverse=True)
        assert 0 < sum(scores) < 1  # the rest is that of the other chunks


def test_a_yes_no_reranker_scores_each_chunk_alone(
    make_client: "MakeClient", make_yes_no: Callable[..., Path]
) -> None:
    ranker = Ranker.open(make_yes_no(), device="cpu", dtype="float32")
    with make_client(cast("FakeRanker", ranker)) as client:
        found = by_index(client, CHUNK)
    texts = [LONG[a:b] for a, b in spans(ranker)]
    scores = ranker.rank("river", texts)
    assert found[1]["relevance_score"] == pytest.approx(max(scores), rel=1e-5)
    best = texts[scores.index(max(scores))]
    assert LONG[found[1]["chunk"]["start"] : found[1]["chunk"]["end"]] == best
    assert found[2]["relevance_score"] == pytest.approx(ranker.rank("river", [SHORT])[0], rel=1e-5)
