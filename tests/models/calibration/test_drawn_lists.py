"""Which lists are drawn, and what is known of their documents."""

from collections import Counter
from typing import Any

import pytest

from blockrank_server.models.calibration.drawn_lists import draw_lists, judged_lists
from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.evaluation.sets import EvaluationSet

TEXTS = tuple(f"d{i}" for i in range(60))


def some_set(grades: dict[str, int], num_documents: int = 60) -> EvaluationSet:
    ids = TEXTS[:num_documents]
    documents = tuple({"title": "", "text": each} for each in ids)
    lists = tuple(Shortlist(q, q, ids, documents, ()) for q in ("q1", "q2", "unjudged"))
    return EvaluationSet("one", lists, {"q1": grades, "q2": grades})


def test_sizes_are_mixed_and_a_third_lacks_what_is_relevant() -> None:
    drawn = draw_lists(some_set({"d3": 1, "d50": 2}), 300, seed=1)
    assert len(drawn) == 300
    assert {x.shortlist.query_id for x in drawn} == {"q1", "q2"}
    assert sum(not any(x.labels) for x in drawn) == 100
    sizes = Counter(len(x.labels) // 10 for x in drawn)
    assert min(len(x.labels) for x in drawn) == 5
    assert max(len(x.labels) for x in drawn) >= 55
    assert sizes[0] > sizes[4] > 0  # a size is as likely as its double
    for each in drawn:
        order = [TEXTS.index(doc_id) for doc_id in each.shortlist.doc_ids]
        assert order == sorted(order)
        relevant = [doc_id in ("d3", "d50") for doc_id in each.shortlist.doc_ids]
        assert list(each.labels) == relevant


def test_the_seed_and_the_name_decide() -> None:
    found = some_set({"d3": 1})
    assert draw_lists(found, 9, seed=1) == draw_lists(found, 9, seed=1)
    assert draw_lists(found, 9, seed=1) != draw_lists(found, 9, seed=2)


def test_short_lists_that_lose_too_much_are_left_out() -> None:
    drawn = draw_lists(some_set({"d0": 1}, num_documents=5), 30, seed=1)
    assert len(drawn) == 20
    assert all(any(x.labels) for x in drawn)


@pytest.mark.parametrize(
    ("grades", "expected"),
    [
        ({"d1": 1}, (False, True, False)),
        ({"d1": 1, "d0": 0}, (False, True, None)),
        ({"d1": 3, "d0": -1}, (False, True, None)),
    ],
)
def test_who_notes_what_is_not_relevant_leaves_the_rest_unknown(
    grades: dict[str, int], expected: Any
) -> None:
    judged = judged_lists(some_set(grades, num_documents=3))
    assert [x.labels for x in judged] == [expected, expected]
