"""How well one list is ranked, as training reports it."""

import math
import random

import pytest

from blockrank_server.models.evaluation.measures import measure, parse_measures
from blockrank_server.models.training.list_measures import list_measures


def test_measures_of_a_list() -> None:
    found = list_measures([0.1, 0.5, 0.4], [1, 0, 2], [True, False, True])
    best = 2 / math.log2(2) + 1 / math.log2(3)
    expected = 2 / math.log2(3) + 1 / math.log2(4)
    assert found == pytest.approx({"p@1": 0.0, "rr": 0.5, "ndcg@10": expected / best})


def test_ties_count_against_the_answer() -> None:
    assert list_measures([0.5, 0.5], [1, 0], [True, False])["rr"] == 0.5


def test_an_answer_below_the_tenth_place_gains_nothing() -> None:
    scores = [float(-i) for i in range(11)]
    relevance = [0] * 10 + [1]
    found = list_measures(scores, relevance, [r > 0 for r in relevance])
    assert found["ndcg@10"] == 0.0
    assert found["rr"] == pytest.approx(1 / 11)


@pytest.mark.parametrize("seed", range(20))
def test_they_are_those_that_an_evaluation_reports(seed: int) -> None:
    rng = random.Random(seed)
    relevance = [rng.choice([0, 0, 1, 2, 3]) for _ in range(rng.randrange(1, 30))] + [2]
    scores = rng.sample(range(100), len(relevance))
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    judged = {"q": {str(i): relevance[i] for i in order}}
    measures = parse_measures(["P@1", "RR", "nDCG@10"], min_relevance=2)
    values = measure(measures, judged, {"q": [str(i) for i in order]})
    found = list_measures(scores, relevance, [r >= 2 for r in relevance])
    assert list(found.values()) == pytest.approx([values[name]["q"] for name in measures])
