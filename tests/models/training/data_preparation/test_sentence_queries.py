"""Queries made out of a sentence."""

import random
from collections.abc import Mapping
from types import MappingProxyType

import pytest

from blockrank_server.models.training.data_preparation.sentence_queries import (
    is_clear,
    names_in,
    queries_of,
    swap_name,
)


def wordings(
    title: str, sentence: str, kind: str, frequency: Mapping[str, int] = MappingProxyType({})
) -> set[str]:
    """All that a kind of query says over many draws."""
    found = (queries_of(title, sentence, frequency, random.Random(i)) for i in range(40))
    return {queries[kind] for queries in found if kind in queries}


@pytest.mark.parametrize(
    ("kind", "title", "sentence", "query"),
    [
        ("relation", "", "Paris is the capital of France.", "what is the capital of France"),
        ("relation", "", "Paris, the capital of France, is large.", "capital of France"),
        ("definition", "Freepost", "Freepost is a postal service in Europe.", "what is Freepost"),
        ("definition", "Ann Lee (poet)", "Ann Lee (1736–1784) was a poet.", "who was Ann Lee"),
        ("agent", "", "The telephone was invented by Bell in 1876.", "who invented The telephone"),
        ("agent", "", "Bo Mills designed the New Church.", "who designed the New Church"),
        ("time", "", "The Lite was introduced widely in 1975.", "when was The Lite introduced"),
        ("place", "", "Orange County is located in New York.", "where is Orange County"),
        ("name", "", "It was shown at the National Gallery again.", "National Gallery"),
    ],
)  # fmt: skip
def test_a_sentence_answers_it(kind: str, title: str, sentence: str, query: str) -> None:
    assert query in wordings(title, sentence, kind)


def test_keywords_are_the_rarest_words_in_their_order() -> None:
    frequency = {"large": 9, "river": 1, "flows": 1, "north": 9, "slowly": 9}
    found = wordings("", "A large river flows slowly north.", "keywords", frequency)
    assert "river flows" in found


def test_what_says_nothing_of_its_own_is_not_asked_about() -> None:
    assert not wordings("", "They were late again in the evening.", "relation")
    assert [is_clear(x) for x in ("Paris is large.", "It is large.", "(See 2.)")] == [
        True,
        False,
        False,
    ]
    assert not is_clear("The gene behind this condition is large.")


def test_names_are_found_within_the_sentence() -> None:
    assert names_in("The king of Spain met Anna von Berg in the Old Town.") == [
        "Spain", "Anna von Berg", "Old Town",
    ]  # fmt: skip


def test_another_name_takes_the_place_of_the_one_asked_for() -> None:
    names = ["Malta", "New Town", "Portugal"]
    sentence = "Football is the most popular sport in Portugal."
    swapped = swap_name(sentence, "most popular sport portugal", names, random.Random(1))
    assert swapped == "Football is the most popular sport in Malta."
    assert swap_name(sentence, "most popular sport", names, random.Random(1)) is None
    assert swap_name(sentence, "sport portugal", ["New Town"], random.Random(1)) is None
