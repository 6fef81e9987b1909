"""What is fitted: numbers put in come out; judgements that say nothing are refused."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from blockrank_server.models.calibration.calibrate import calibrate, refit
from blockrank_server.models.calibration.errors import CalibrationError
from blockrank_server.models.calibration.measures import auc, equal_bins, recall_threshold
from blockrank_server.models.calibration.score_table import ScoredList
from blockrank_server.models.evaluation.calibration import calibration_error

SLOPE, INTERCEPT, LEVEL_WEIGHT = 1.5, -4.0, 0.4
Draw = Callable[[int, str], list[ScoredList]]


@pytest.fixture
def draw() -> Draw:
    """Lists whose labels are drawn by known chances."""

    def lists(num: int, group: str) -> list[ScoredList]:
        rng = np.random.default_rng(len(group))
        found = []
        for i in range(num):
            size = int(rng.integers(5, 40))
            lse = rng.normal(0, 2, size) + rng.normal(0, 3)
            total = np.log(np.exp(lse).sum())
            level = float(total - math.log(size))
            shares = np.exp(lse - total)
            z = SLOPE * (np.log(size * shares) + LEVEL_WEIGHT * level) + INTERCEPT
            labels = rng.random(size) < 1 / (1 + np.exp(-z))
            row = tuple(bool(label) for label in labels)
            found.append(ScoredList(group, f"q{i}", level, tuple(shares.tolist()), row))
        return found

    return lists


def test_what_judgements_were_drawn_by_is_found(draw: Draw) -> None:
    fitted = calibrate([*draw(800, "one"), *draw(800, "three")], LEVEL_WEIGHT)
    found = fitted.calibration
    assert found.slope == pytest.approx(SLOPE, rel=0.1)
    assert found.intercept == pytest.approx(INTERCEPT, abs=0.2)
    assert found.level_weight == LEVEL_WEIGHT
    assert (found.fitted_on, found.num_lists) == (("one", "three"), 1600)
    assert found.ece < 0.02
    assert [(row.name, row.fitted_on) for row in fitted.rows] == [
        ("one", "the others"),
        ("three", "the others"),
        ("all", "all"),
    ]


def test_one_set_is_judged_by_halves_of_its_queries(draw: Draw) -> None:
    rows = calibrate(draw(200, "one")).rows
    assert [row.name for row in rows] == ["one, half", "one, other half", "all"]
    assert sum(row.quality.num_lists for row in rows[:2]) == 200


def test_a_refit_moves_slope_intercept_and_threshold_alone(draw: Draw) -> None:
    before = calibrate(draw(400, "one")).calibration
    strict = [
        ScoredList(x.group, x.query_id, x.level, x.shares, tuple(
            bool(label) and share > 6 / len(x.shares)
            for label, share in zip(x.labels, x.shares, strict=True)
        ))
        for x in draw(40, "mine")
    ]  # fmt: skip
    fitted = refit(before, strict)
    after = fitted.calibration
    assert after.level_weight == before.level_weight
    assert after.intercept < before.intercept
    assert after.any_relevant_from != before.any_relevant_from
    assert (after.fitted_on, after.num_lists) == (("mine",), 40)
    was, now = fitted.rows
    assert now.quality.brier < was.quality.brier
    assert now.quality.pooled_auc == pytest.approx(was.quality.pooled_auc)


def test_too_few_and_one_sided_judgements_are_refused(draw: Draw) -> None:
    with pytest.raises(CalibrationError, match="there are 99 lists with judgements, 100 are need"):
        calibrate(draw(99, "one"))
    nothing = [
        ScoredList(x.group, x.query_id, x.level, x.shares, (False,) * len(x.shares))
        for x in draw(120, "one")
    ]
    with pytest.raises(CalibrationError, match="one-sided: 0 of 120 lists are with a relevant"):
        calibrate(nothing)
    before = calibrate(draw(200, "one")).calibration
    with pytest.raises(CalibrationError, match=r"there are \d+ judgements, 50 are needed"):
        refit(before, draw(1, "a"))
    with pytest.raises(CalibrationError, match=r"one-sided: 0 of .* are relevant, 10 are needed"):
        refit(before, nothing[:20])


def test_judgements_that_contradict_the_scores_are_refused(draw: Draw) -> None:
    before = calibrate(draw(200, "one")).calibration
    inverted = [
        ScoredList(x.group, x.query_id, x.level, x.shares, tuple(
            share < 1 / len(x.shares) for share in x.shares
        ))
        for x in draw(40, "one")
    ]  # fmt: skip
    with pytest.raises(CalibrationError, match="the judgements contradict the scores: the slope"):
        refit(before, inverted)


def test_a_document_without_a_judgement_counts_nowhere(draw: Draw) -> None:
    lists = draw(300, "one")
    half = [
        ScoredList(x.group, x.query_id, x.level, x.shares, tuple(
            label if i % 2 else None for i, label in enumerate(x.labels)
        ))
        for x in lists
    ]  # fmt: skip
    assert calibrate(half).calibration.slope == pytest.approx(SLOPE, rel=0.3)


def test_measures() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.8])
    assert auc(scores, np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(3.5 / 4)
    assert math.isnan(auc(scores, np.zeros(4)))
    p = np.repeat([0.2, 0.7], 500)
    labels = np.tile([1.0, 0.0, 0.0, 0.0, 0.0], 200)
    bins = equal_bins(p, labels)
    assert [x.documents for x in bins] == [100] * 10
    assert [x.score for x in bins[4:6]] == pytest.approx([0.2, 0.7])
    assert [x.relevant for x in bins[4:6]] == pytest.approx([0.2, 0.2])
    assert calibration_error(bins) == pytest.approx(0.25)
    best = np.linspace(0.01, 1, 100)
    assert recall_threshold(best, np.ones(100)) == pytest.approx(0.1, abs=0.011)
