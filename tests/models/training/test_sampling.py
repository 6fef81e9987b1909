"""Which list comes when, and which documents of it: by the seed alone."""

import random
from collections import Counter

import pytest

from blockrank_server.models.data.training_list import TrainingList
from blockrank_server.models.training.data_config import Data
from blockrank_server.models.training.sampling import (
    ListOrder,
    as_typed,
    choose_documents,
    held_out,
)


def positions(order: ListOrder, epoch: int) -> list[tuple[int, int]]:
    size = order.lists_per_epoch
    return [order.at(position) for position in range(epoch * size, (epoch + 1) * size)]


def test_an_epoch_holds_every_list_once_in_an_order_of_its_own() -> None:
    order = ListOrder([5, 3], [5, 3], seed=1)
    expected = [(0, i) for i in range(5)] + [(1, i) for i in range(3)]
    first, second = positions(order, 0), positions(order, 1)
    assert sorted(first) == sorted(second) == expected
    assert first != second
    assert positions(ListOrder([5, 3], [5, 3], seed=1), 1) == second
    assert positions(ListOrder([5, 3], [5, 3], seed=2), 1) != second


def test_a_share_smaller_than_the_source_goes_through_it_over_epochs() -> None:
    order = ListOrder([6, 2], [2, 2], seed=1)
    taken = [place for epoch in range(3) for place in positions(order, epoch)]
    assert Counter(taken) == Counter({(0, i): 1 for i in range(6)} | {(1, i): 3 for i in range(2)})


def test_a_share_larger_than_the_source_repeats_it() -> None:
    counts = Counter(positions(ListOrder([3], [7], seed=1), 0))
    assert sorted(counts.values()) == [2, 2, 3]


def test_neighbours_stay_together() -> None:
    order = ListOrder([6, 5, 4], [6, 0, 8], seed=1, lists_together=2)
    places = positions(order, 0)
    assert len(places) == order.lists_per_epoch == 14
    pairs = [places[i : i + 2] for i in range(0, 14, 2)]
    assert all((a[0], a[1] + 1) == b and a[1] % 2 == 0 for a, b in pairs)
    assert Counter(places) == Counter({(0, i): 1 for i in range(6)} | {(2, i): 2 for i in range(4)})


@pytest.mark.parametrize(
    ("num_lists", "num_held_out"), [(100, 0), (100, 1), (100, 25), (7, 3), (10, 10), (1, 2)]
)
def test_held_out_lists_are_as_many_as_asked(num_lists: int, num_held_out: int) -> None:
    rows = held_out(num_lists, num_held_out)
    assert len(set(rows)) == len(rows) == min(num_held_out, num_lists)
    assert all(0 <= row < num_lists for row in rows)


def test_held_out_lists_stand_in_blocks_over_the_whole_file() -> None:
    rows = held_out(1000, 50)
    assert [row for row in rows if row - 1 not in rows] == [0, 200, 400, 600, 800]


def shortlist(relevance: list[int]) -> TrainingList:
    ids = tuple(f"d{i}" for i in range(len(relevance)))
    return TrainingList("f:1", "q", "query", ids, ids, ids, tuple(relevance), None)


def chosen(relevance: list[int], **data: object) -> list[list[int]]:
    settings = Data.model_validate({"sources": [{"path": "x"}]} | data)
    draw = settings.draw_of(settings.sources[0])
    return [choose_documents(shortlist(relevance), draw, random.Random(i)) for i in range(300)]


def test_the_answer_is_always_in_and_stands_anywhere() -> None:
    lists = chosen([0, 0, 0, 0, 0, 0, 0, 0, 0, 1], documents=4)
    assert all(len(set(found)) == len(found) == 4 and 9 in found for found in lists)
    places = Counter(found.index(9) for found in lists)
    assert min(places[i] for i in range(4)) > 40
    drawn = Counter(i for found in lists for i in found)
    assert min(drawn[i] for i in range(9)) > 60


def test_the_number_of_documents_is_drawn_from_a_range() -> None:
    assert {len(found) for found in chosen([1] + [0] * 9, documents=[3, 5])} == {3, 4, 5}


def test_a_short_list_is_taken_whole() -> None:
    assert all(sorted(found) == [0, 1, 2] for found in chosen([0, 1, 0], documents=16))


def test_negatives_come_from_the_first_of_the_list() -> None:
    lists = chosen([0, 0, 1, 0, 0, 0, 0, 0], documents=3, negatives_from_first=3)
    assert {i for found in lists for i in found} == {0, 1, 2, 3}


def test_many_answers_leave_room_for_a_negative() -> None:
    lists = chosen([1, 1, 1, 1, 1, 0], documents=4)
    assert all(len(found) == 4 and 5 in found for found in lists)
    lists = chosen([1, 1, 1, 1, 1, 0, 0, 0], documents=4, max_positives=1)
    assert all(len([i for i in found if i < 5]) == 1 for found in lists)


def test_a_share_of_the_lists_loses_its_answers() -> None:
    lists = chosen([1, 1, 0, 0, 0, 0], documents=4, unanswerable=0.25)
    bare = [found for found in lists if not {0, 1} & set(found)]
    assert all(sorted(found) == [2, 3, 4, 5] for found in bare)
    assert 50 < len(bare) < 100
    assert all(len({0, 1} & set(found)) == 2 for found in lists if found not in bare)


def test_a_source_may_have_its_own_numbers() -> None:
    source = {"path": "x", "documents": [2, 3], "negatives_from_first": 2}
    lists = chosen([1, 0, 0, 0, 0], documents=5, sources=[source])
    assert {len(found) for found in lists} == {2, 3}
    assert {i for found in lists for i in found} == {0, 1, 2}


@pytest.mark.parametrize(
    ("query", "typed"),
    [("What is the Nile?", "what is the nile"), ("U.S.A.", "u.s.a"), ("??", "??"), ("a b", "a b")],
)
def test_a_query_as_it_is_typed(query: str, typed: str) -> None:
    assert as_typed(query) == typed


def test_weak_answers_are_negatives_below_the_least_relevance() -> None:
    lists = chosen([2, 1, 1, 1, 0], documents=2, min_relevance=2)
    assert all(0 in found for found in lists)
    assert {i for found in lists for i in found} == {0, 1, 2, 3, 4}
