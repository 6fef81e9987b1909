"""The same query and documents through every dialect: the same scores in the same order."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from blockrank_server.service.dialects.registry import DIALECTS

Ranking = list[tuple[int, float]]  # index and score, in the order of the answer
Make = Callable[[str, list[str]], dict[str, Any]]


class Case(NamedTuple):
    path: str
    body: Make
    read: Callable[[Any], Ranking]
    headers: dict[str, str]


def pairs(score: str) -> Callable[[list[dict[str, Any]]], Ranking]:
    return lambda items: [(item["index"], item[score]) for item in items]


def by_place(items: list[dict[str, Any]]) -> Ranking:
    """Sorted here as the client has to."""
    return sorted(enumerate(item["score"] for item in items), key=lambda pair: (-pair[1], pair[0]))


def plain(**more: Any) -> Make:
    return lambda query, documents: {"query": query, "documents": documents, **more}


def case(body: Make, read: Callable[[Any], Ranking], path: str = "/rerank", **headers: str) -> Case:
    return Case(path, body, read, {name.replace("_", "-"): v for name, v in headers.items()})


CASES = {
    "cohere": case(plain(model="m"), lambda a: pairs("relevance_score")(a["results"])),
    "infinity": case(plain(raw_scores=False), lambda a: pairs("relevance_score")(a["results"])),
    "tei": case(lambda q, d: {"query": q, "texts": d}, pairs("score")),
    "weaviate": case(plain(property=""), lambda a: by_place(a["scores"])),
    "nvidia": case(
        lambda q, d: {"query": {"text": q}, "passages": [{"text": text} for text in d]},
        lambda a: pairs("logit")(a["rankings"]),
    ),
    "voyage": case(plain(top_k=None), lambda a: pairs("relevance_score")(a["data"])),
    "mixedbread": case(lambda q, d: {"query": q, "input": d}, lambda a: pairs("score")(a["data"])),
    "sglang": case(plain(), pairs("score"), "/sglang/v1/rerank"),
    "rank_llm": case(
        lambda q, d: {"query": q, "candidates": [{"docid": i, "text": t} for i, t in enumerate(d)]},
        lambda a: [(c["docid"], c["score"]) for c in a["artifacts"][0]["value"][0]["candidates"]],
    ),
    "vllm_score": case(lambda q, d: {"text_1": q, "text_2": d}, lambda a: by_place(a["data"])),
    "pinecone": case(
        lambda q, d: {"query": q, "documents": [{"id": "x", "text": text} for text in d]},
        lambda a: pairs("score")(a["data"]),
        X_Pinecone_Api_Version="2025-04",
    ),
}

WORDS = st.lists(st.sampled_from(["capital", "of", "France", "Paris"]), max_size=6).map(" ".join)
TEXT = WORDS | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def ranking_of(client: TestClient, name: str, query: str, documents: list[str]) -> Ranking:
    path, body, read, headers = CASES[name]
    response = client.post(path, json=body(query, documents), headers=headers)
    assert response.status_code == 200, response.text
    return read(response.json())


def test_there_is_a_case_for_every_dialect() -> None:
    assert {dialect.name for dialect in DIALECTS} == set(CASES)


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=40,
)
@given(query=TEXT.filter(str.strip), documents=st.lists(TEXT, min_size=1, max_size=8))
def test_every_dialect_gives_the_same_ranking(
    client: TestClient, query: str, documents: list[str]
) -> None:
    expected = ranking_of(client, "cohere", query, documents)
    assert sorted(index for index, _ in expected) == list(range(len(documents)))
    assert expected == sorted(expected, key=lambda pair: (-pair[1], pair[0]))
    for name in CASES:
        assert ranking_of(client, name, query, documents) == expected, name


@pytest.mark.parametrize("name", CASES)
def test_ties_keep_the_order_of_the_request(client: TestClient, name: str) -> None:
    found = ranking_of(client, name, "b", ["a", "b", "", "a", "b", " "])
    assert [index for index, _ in found] == [1, 4, 0, 3, 2, 5]
    assert [score for _, score in found][-2:] == [0.0, 0.0]


@pytest.mark.parametrize("name", CASES)
def test_a_number_is_a_double_to_every_parser(client: TestClient, name: str) -> None:
    # OpenSearch casts to Double what its parser gives: no integer, no exponent, no 19th character.
    path, body, _, headers = CASES[name]
    documents = ["a " * n + "b " * (40 - n) for n in (1, 3, 7, 40)] + [""]
    text = client.post(path, json=body("a", documents), headers=headers).text
    key = {
        "cohere": "relevance_score",
        "infinity": "relevance_score",
        "voyage": "relevance_score",
    }.get(name, "logit" if name == "nvidia" else "score")
    numbers = [part.split(",")[0].split("}")[0] for part in text.split(f'"{key}":')[1:]]
    numbers = [number for number in numbers if number != "null"]
    assert len(numbers) == 5
    for number in numbers:
        assert len(number) <= 18
        assert number.replace(".", "", 1).isdigit()
        assert "." in number
