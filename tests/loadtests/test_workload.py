"""Bodies of requests are real text of the stated lengths."""

import json
import random
from statistics import mean, median
from typing import Any

import pytest

from open_loop.workload import Corpus, DocumentLengths, RequestBodies


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus()


def read(bodies: RequestBodies, *key: int) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(bodies.body(*key))
    return body


def test_documents_have_the_lengths_that_are_stated(corpus: Corpus) -> None:
    _, documents = corpus.shortlist(4000, DocumentLengths(), random.Random(1))
    lengths = [len(document.split()) for document in documents]
    assert mean(lengths) == pytest.approx(60, abs=2)
    assert median(lengths) == pytest.approx(56, abs=2)
    assert min(lengths) >= 8
    assert max(lengths) <= 200


def test_a_document_is_cut_from_a_passage_or_joined_from_neighbours(corpus: Corpus) -> None:
    everything = " ".join(" ".join(words) for words in corpus.passages * 2)
    for median_words in (5.0, 400.0):
        lengths = DocumentLengths(median_words=median_words, sigma=0, min_words=5, max_words=400)
        _, documents = corpus.shortlist(50, lengths, random.Random(2))
        assert {len(document.split()) for document in documents} == {median_words}
        assert all(document in everything for document in documents)


def test_a_question_comes_with_its_own_passages_first(corpus: Corpus) -> None:
    whole = DocumentLengths(median_words=3, sigma=0, min_words=3, max_words=3)
    query, documents = corpus.shortlist(100, whole, random.Random(3))
    own = next(q.passages for q in corpus.questions if q.query == query)
    allowed = " ".join(" ".join(corpus.passages[place]) for place in own)
    assert len(own) == 100
    assert all(document in allowed for document in documents)


def test_the_longest_list_can_be_made(corpus: Corpus) -> None:
    _, documents = corpus.shortlist(1000, DocumentLengths(), random.Random(4))
    assert len(documents) == 1000
    assert len(set(documents)) > 990


def test_no_two_requests_are_the_same_even_on_the_same_list() -> None:
    bodies = RequestBodies({(5, 0)}, DocumentLengths(), seed=7)
    made = [read(bodies, 5, 0, index) for index in range(0, 100_000, 97)]
    assert len({body["query"] for body in made}) == len(made)
    assert all(body["documents"] == made[0]["documents"] for body in made)


def test_bodies_are_those_of_their_seed() -> None:
    needed = {(5, 0), (5, 1), (10, 0)}
    first, again = (
        RequestBodies(needed, DocumentLengths(), seed=7),
        RequestBodies(needed, DocumentLengths(), seed=7),
    )
    other = RequestBodies(needed, DocumentLengths(), seed=8)
    assert first.body(5, 1, 3) == again.body(5, 1, 3)
    assert first.body(5, 1, 3) != other.body(5, 1, 3)
    assert read(first, 5, 0, 3)["documents"] != read(first, 5, 1, 3)["documents"]
    assert len(read(first, 10, 0, 3)["documents"]) == 10


@pytest.mark.parametrize(
    "fields", [{"median_words": 0.0}, {"median_words": 300.0}, {"sigma": -1.0}, {"min_words": 60}]
)
def test_impossible_lengths_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="median of"):
        DocumentLengths(**fields)
