import math

import pytest

from blockrank_server.models.evaluation.errors import EvaluationError
from blockrank_server.models.evaluation.measures import measure, parse_measures
from blockrank_server.models.evaluation.significance import compare, compare_sets

QRELS = {"q1": {"a": 1, "z": 1}, "q2": {"b": 2}, "q3": {"c": 1}}


def test_values_are_those_of_the_definitions() -> None:
    measures = parse_measures(["nDCG@10", "RR@10", "P@1", "R@10"])
    found = measure(measures, QRELS, {"q1": ["x", "a"], "q2": ["b"], "q3": ["x", "y", "c"]})
    best = 1 + 1 / math.log2(3)
    assert found["nDCG@10"]["q1"] == pytest.approx(1 / math.log2(3) / best)
    assert found["RR@10"] == pytest.approx({"q1": 1 / 2, "q2": 1.0, "q3": 1 / 3})
    assert found["P@1"] == {"q1": 0.0, "q2": 1.0, "q3": 0.0}
    assert found["R@10"] == {"q1": 0.5, "q2": 1.0, "q3": 1.0}


def test_queries_without_a_ranking_count_as_zero_and_others_not_at_all() -> None:
    found = measure(parse_measures(["nDCG@10"]), QRELS, {"q2": ["b"], "q1": [], "q8": ["b"]})
    assert found == {"nDCG@10": {"q1": 0.0, "q2": 1.0, "q3": 0.0}}


def test_the_order_given_decides_and_no_name_of_a_document() -> None:
    qrels = {"q": {"m": 1}}
    for ids in (["a", "m", "z"], ["z", "m", "a"]):
        assert measure(parse_measures(["RR@10"]), qrels, {"q": ids})["RR@10"]["q"] == 0.5


def test_least_relevance_holds_where_a_measure_does_not_say_it() -> None:
    measures = parse_measures(["RR@10", "RR(rel=1)@10", "nDCG@10"], min_relevance=2)
    found = measure(measures, {"q": {"a": 1, "b": 2}}, {"q": ["a", "b"]})
    assert found["RR@10"]["q"] == 0.5
    assert found["RR(rel=1)@10"]["q"] == 1.0


@pytest.mark.parametrize("name", ["nDGC@10", "", "RR(rel=)@10"])
def test_an_unknown_measure_is_refused(name: str) -> None:
    with pytest.raises(EvaluationError, match="no measure"):
        parse_measures([name])


def test_a_difference_on_every_query_is_no_chance() -> None:
    theirs = {f"q{i}": 0.1 * (i % 5) for i in range(40)}
    found = compare({q: value + 0.05 for q, value in theirs.items()}, theirs)
    assert found.difference == pytest.approx(0.05)
    assert found.p_value < 0.001
    assert (found.won, found.lost) == (40, 0)


def test_no_difference_and_opposite_differences_may_be_chance() -> None:
    same = {"q1": 0.5, "q2": 0.7}
    assert compare(same, same).p_value == 1.0
    found = compare({"q1": 1.0, "q2": 0.0}, {"q1": 0.0, "q2": 1.0})
    assert (found.difference, found.p_value, found.won, found.lost) == (0.0, 1.0, 1, 1)


def test_few_queries_are_tested_exactly() -> None:
    # Of the eight ways to give three equal differences a sign, two are as extreme.
    found = compare({"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 0.0, "b": 0.0, "c": 0.0})
    assert found.p_value == pytest.approx(2 / 8)


def test_every_set_counts_the_same_in_the_mean_over_sets() -> None:
    large = {f"q{i}": 0.0 for i in range(10)}
    small = {"q": 1.0}
    found = compare_sets([(large, large), (small, {"q": 0.0})])
    assert found.difference == pytest.approx(0.5)
