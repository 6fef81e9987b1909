"""BM25 as a part of a teacher's score, by hand."""

import math

import pytest

from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.training.data_preparation.bi_encoder import add_bm25
from blockrank_server.models.training.data_preparation.bm25 import bm25_scores


def shortlist(query: str, **texts: str) -> Shortlist:
    documents = tuple({"title": "", "text": text} for text in texts.values())
    return Shortlist(query, query, tuple(texts), documents, ())


LISTS = [
    shortlist("flowing rivers", a="the river flows", b="money", c="river bank money"),
    shortlist("the of", a="the river flows"),
]


def test_it_is_lucenes_bm25_of_stems() -> None:
    """3 passages of 2, 1 and 3 words after stop words; "river" in 2, "flow" in 1 of them."""
    first, of_stop_words = bm25_scores(LISTS)

    def part(num_holding: int, words: int) -> float:
        idf = math.log(1 + (3 - num_holding + 0.5) / (num_holding + 0.5))
        return idf / (1 + 0.9 * (1 - 0.4 + 0.4 * words / 2))

    expected = [part(2, 2) + part(1, 2), 0.0, part(2, 3)]
    assert first == pytest.approx(expected, abs=1e-6)
    assert of_stop_words == [0.0]


def test_it_is_added_with_its_weight() -> None:
    cosines = [[("a", 0.5), ("b", 0.25), ("c", 0.125)], [("a", 0.75)]]
    found = add_bm25(LISTS, cosines, 0.01)
    a, b, c = bm25_scores(LISTS)[0]
    assert found[0] == [("a", 0.5 + 0.01 * a), ("b", 0.25 + 0.01 * b), ("c", 0.125 + 0.01 * c)]
    assert found[1] == [("a", 0.75)]
