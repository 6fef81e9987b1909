"""What a score is shown as: probabilities that keep the order of shares, logits, shares."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrank_server.models.checkpoint.calibration import Calibration, probability
from blockrank_server.models.score_scale import ScoreScale

FIELDS: dict[str, Any] = {
    "slope": 1.25,
    "intercept": -2.0,
    "level_weight": 0.5,
    "any_relevant_from": 0.2,
    "fitted_on": ["a"],
    "num_lists": 500,
    "ece": 0.03,
    "auroc": 0.7,
}
SCALE = ScoreScale(Calibration.model_validate(FIELDS), max_score=1.0)
SHARES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40)


def test_a_probability_is_the_sigmoid_of_the_formula() -> None:
    shares, level = [0.5, 0.25, 0.25], -3.0
    logits = [1.25 * (math.log(3 * share) + 0.5 * level) - 2.0 for share in shares]
    assert SCALE.numbers(shares, 3, level, "logit") == pytest.approx(logits)
    expected = [1 / (1 + math.exp(-z)) for z in logits]
    assert SCALE.numbers(shares, 3, level, "probability") == pytest.approx(expected)
    assert SCALE.numbers(shares, 3, level, "share") == shares


@given(SHARES, st.floats(-50, 50))
def test_probabilities_and_logits_keep_the_order_of_shares(
    shares: list[float], level: float
) -> None:
    """To the last digit shown: what looks equal as a share is equal."""
    shown = [float(f"{share:.8g}") for share in shares]
    logits = SCALE.numbers(shares, len(shares), level, "logit")
    found = SCALE.numbers(shares, len(shares), level, "probability")
    order = sorted(range(len(shares)), key=shown.__getitem__, reverse=True)
    large = [i for i in order if shown[i] >= 2.0**-148]  # where float32 has more than one number
    assert sorted(large, key=logits.__getitem__, reverse=True) == large
    assert all(found[a] >= found[b] for a, b in pairwise(order))
    assert all(0 <= p <= 1 and math.isfinite(z) for p, z in zip(found, logits, strict=True))


def test_the_best_of_a_certain_list_is_not_tied_with_the_next() -> None:
    scale = ScoreScale(SCALE.calibration, 2.0)
    shares = [1.0, 0.99, 0.01]
    assert scale.numbers(shares, 3, 200.0, "probability")[:2] == [1.0, 1.0]
    first, second, _ = scale.logits(shares, 3, 200.0)
    assert first > second


def test_no_score_is_no_probability_and_a_finite_logit() -> None:
    assert SCALE.numbers([0.0, 1.0], 2, 0.0, "probability")[0] == 0.0
    assert math.isfinite(SCALE.numbers([0.0, 1.0], 2, 0.0, "logit")[0])
    assert math.isfinite(SCALE.numbers([0.0], 0, 0.0, "logit")[0])


@given(st.floats(-1e6, 1e6))
def test_the_sigmoid_of_any_number_is_one_in_0_to_1(z: float) -> None:
    assert 0 <= probability(z) <= 1
    assert probability(z) + probability(-z) == pytest.approx(1)


def test_a_list_of_any_size_gives_the_log_sum_exp_back_where_the_level_weighs_1() -> None:
    """So that equal documents have one probability, whatever stands beside them."""
    scale = ScoreScale(Calibration.model_validate(FIELDS | {"level_weight": 1.0}), max_score=1.0)
    log_sum_exps = np.array([1.0, -2.0, 0.5, 3.0])
    whole, half = log_sum_exps, log_sum_exps[:2]
    found = []
    for each in (whole, half):
        total = np.log(np.exp(each).sum())
        shares = np.exp(each - total)
        level = total - np.log(len(each))
        found.append(scale.numbers(shares.tolist(), len(each), float(level), "probability"))
    assert found[0][:2] == pytest.approx(found[1])
