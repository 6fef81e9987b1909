from typing import TYPE_CHECKING

import pytest

from blockrank_server.models.evaluation.breakdown import by_documents, by_position
from blockrank_server.models.evaluation.calibration import calibration, calibration_error
from blockrank_server.models.evaluation.order_sensitivity import order_sensitivity

if TYPE_CHECKING:
    from tests.models.evaluation.conftest import MakeSet


def test_lists_are_grouped_by_their_length(make_set: "MakeSet") -> None:
    lists = {"q1": "a", "q2": "a b", "q3": "a b c", "q4": " ".join("abcdefghijk")}
    qrels = {q: {"a": 1} for q in lists}
    first = {"q1": 0.0, "q2": 0.2, "q3": 0.4, "q4": 1.0}
    found = by_documents(make_set(lists, qrels), first, dict.fromkeys(lists, 0.5))
    assert [(g.name, g.queries) for g in found] == [("1", 1), ("2-3", 2), ("11-20", 1)]
    assert found[1].first_stage == pytest.approx(0.3)
    assert found[1].ours == 0.5


def test_lists_are_grouped_by_the_first_relevant_document(make_set: "MakeSet") -> None:
    lists = {"q1": "a b c", "q2": "b a c", "q3": "b c d", "q4": "b"}
    qrels = {"q1": {"a": 2}, "q2": {"a": 2, "b": 1}, "q3": {"a": 2}}
    values = {"q1": 1.0, "q2": 0.5, "q3": 0.0}
    found = by_position(make_set(lists, qrels), values, values, min_relevance=2)
    assert [(g.name, g.queries, g.ours) for g in found] == [
        ("1", 1, 1.0),
        ("2-3", 1, 0.5),
        ("none", 1, 0.0),
    ]


def test_calibrated_scores_have_no_error_and_others_their_distance() -> None:
    run = {"q1": [("a", 0.5), ("b", 0.5)], "q2": [("c", 1.5), ("d", 0.0)]}
    bins = calibration(run, {"q1": {"a": 1}, "q2": {"c": 2}}, 1, max_score=1.5)
    assert [(b.documents, b.score, b.relevant) for b in bins] == [
        (1, 0.0, 0.0),
        (2, pytest.approx(1 / 3), 0.5),
        (1, 1.0, 1.0),
    ]
    assert calibration_error(bins) == pytest.approx(2 / 4 * (1 / 2 - 1 / 3))


def test_an_order_blind_run_is_told_from_another() -> None:
    run = {"q1": [("a", 0.6), ("b", 0.4)], "q2": [("c", 0.9), ("d", 0.1)]}
    same = order_sensitivity(run, run)
    assert same
    assert (same.mean_change, same.largest_change, same.same_order, same.same_first) == (0, 0, 1, 1)
    moved = order_sensitivity(run, run | {"q1": [("b", 0.5), ("a", 0.5)]})
    assert moved
    assert moved.largest_change == pytest.approx(0.1 / 0.5)
    assert moved.mean_change == pytest.approx(2 * 0.2 / 4)
    assert (moved.same_order, moved.same_first) == (0.5, 0.5)


def test_queries_without_an_answer_say_nothing_of_order() -> None:
    assert order_sensitivity({"q1": []}, {"q1": []}) is None
    assert order_sensitivity({"q1": [("a", 1.0)]}, {}) is None
