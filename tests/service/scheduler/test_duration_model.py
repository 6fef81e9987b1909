"""What is learnt of the model's speed."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrank_server.service.scheduler.duration_model import DurationModel


@pytest.fixture
def duration_model() -> DurationModel:
    """Used to batches of 100 tokens in a second."""
    duration_model = DurationModel()
    for _ in range(50):
        duration_model.record(100, 1.0)
    return duration_model


def test_the_first_batch_is_believed() -> None:
    duration_model = DurationModel()
    duration_model.record(100, 50.0)
    assert duration_model.predict_s(200) == pytest.approx(100)


def test_a_batch_during_which_the_machine_stood_still_is_forgotten_soon(
    duration_model: DurationModel,
) -> None:
    duration_model.record(100, 3600.0)
    assert duration_model.predict_s(100) < 1.5
    for _ in range(20):
        duration_model.record(100, 1.0)
    assert duration_model.predict_s(100) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("seconds", [0.1, 10.0])
def test_another_speed_is_learnt(duration_model: DurationModel, seconds: float) -> None:
    for _ in range(50):
        duration_model.record(100, seconds)
    assert duration_model.predict_s(100) == pytest.approx(seconds, rel=0.1)


def test_short_batches_do_not_make_a_long_one_seem_endless() -> None:
    duration_model = DurationModel()
    duration_model.calibrate((30, 0.13), (530, 0.63))  # 0.1 s a batch, 1 ms a token
    for _ in range(100):
        duration_model.record(30, 0.13)
    assert duration_model.predict_s(30) == pytest.approx(0.13)
    assert duration_model.predict_s(16_000) == pytest.approx(16.1)
    assert duration_model.max_tokens_within(16.1) == pytest.approx(16_000)
    assert duration_model.max_tokens_within(0.05) == 0
    assert duration_model.predict_s(0) == 0
    assert duration_model.predict_marginal_s(1000) == pytest.approx(1)


@pytest.mark.parametrize("many_s", [0.0, 0.1, 0.2], ids=["none", "same", "less than linear"])
def test_odd_timings_give_a_speed_that_can_be_used(many_s: float) -> None:
    duration_model = DurationModel()
    duration_model.calibrate((30, 0.1), (530, many_s))
    assert duration_model.predict_s(530) == pytest.approx(many_s)
    assert 0 <= duration_model.predict_s(30) <= many_s


@pytest.fixture
def calibrated() -> DurationModel:
    """A tenth of a second a batch, 1 ms a token."""
    duration_model = DurationModel()
    duration_model.calibrate((30, 0.13), (530, 0.63))
    return duration_model


def test_the_least_duration_is_nothing_before_the_first_batch(
    duration_model: DurationModel,
) -> None:
    assert duration_model.predict_least_s(16_000) == 0


def test_a_stalled_machine_does_not_raise_the_least_duration(calibrated: DurationModel) -> None:
    for _ in range(50):
        calibrated.record(530, 60.0)
        calibrated.prove(530, 60.0)
    assert calibrated.predict_s(16_000) > 1000
    assert calibrated.predict_least_s(16_000) == pytest.approx(16.1)


def test_a_faster_batch_lowers_the_least_duration(calibrated: DurationModel) -> None:
    calibrated.prove(900, 0.5)  # with the batch's own as good as 1000 tokens
    assert calibrated.predict_least_s(16_000) == pytest.approx(16.1 / 2)


def test_a_short_batch_proves_nothing_wrong_of_a_long_one(calibrated: DurationModel) -> None:
    calibrated.prove(30, 0.13)
    assert calibrated.predict_least_s(16_000) == pytest.approx(16.1)


def test_a_clock_that_went_back_proves_nothing(calibrated: DurationModel) -> None:
    for seconds in (0.0, -3600.0):
        calibrated.prove(530, seconds)
    assert calibrated.predict_least_s(16_000) == pytest.approx(16.1)


def test_a_small_batch_that_was_disturbed_in_the_warm_up_refuses_too_little() -> None:
    duration_model = DurationModel()
    duration_model.calibrate((30, 0.5), (530, 0.63))
    assert duration_model.predict_least_s(16_000) < 16.1


def learn(
    duration_model: DurationModel,
    batches: list[tuple[int, int]],
    *,
    computed_s: float = 1e-3,
    known_s: float,
    noise: float = 0.0,
) -> None:
    """Record batches of (computed, known) tokens on a device that takes so long for each."""
    rng = random.Random(0)
    for num_computed, num_known in batches:
        seconds = 0.1 + computed_s * num_computed + known_s * num_known
        seconds *= 1 + rng.uniform(-noise, noise)
        duration_model.record(num_computed, seconds, num_known=num_known)


COLD, HOT, HALF = (10_000, 0), (50, 9_950), (5_000, 5_000)


def ratio(duration_model: DurationModel) -> float:
    return duration_model.cost_tokens(0, 1_000_000) / 1_000_000


def test_a_known_token_is_taken_for_a_fortieth_before_any_is_seen(
    calibrated: DurationModel,
) -> None:
    assert calibrated.cost_tokens(50, 10_000) == 50 + 250
    assert DurationModel().cost_tokens(50, 10_000) == 50 + 250


@pytest.mark.parametrize("true", [1 / 4, 1 / 40, 1 / 300])
@pytest.mark.parametrize("pair", [(COLD, HOT), (HALF, HOT), (COLD, HALF)])
def test_what_a_known_token_costs_is_learnt_where_batches_differ(
    calibrated: DurationModel, true: float, pair: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    learn(calibrated, [*pair] * 200, known_s=true * 1e-3, noise=0.1)
    for num_computed, num_known in (*pair, COLD):
        expected_s = 0.1 + 1e-3 * (num_computed + true * num_known)
        predicted_s = calibrated.predict_s(calibrated.cost_tokens(num_computed, num_known))
        assert predicted_s == pytest.approx(expected_s, rel=0.25)


@pytest.mark.parametrize("batch", [COLD, HOT, HALF, (50, 0)])
def test_batches_that_are_all_alike_teach_the_speed_alone(
    calibrated: DurationModel, batch: tuple[int, int]
) -> None:
    learn(calibrated, [COLD, HOT] * 50, known_s=1e-4)
    assert ratio(calibrated) == pytest.approx(0.1, rel=0.1)
    learn(calibrated, [batch] * 30, computed_s=1.5e-3, known_s=1.5e-4)
    expected_s = 0.1 + 1.5e-3 * batch[0] + 1.5e-4 * batch[1]
    predicted_s = calibrated.predict_s(calibrated.cost_tokens(*batch))
    assert predicted_s == pytest.approx(expected_s, rel=0.1)
    learnt = ratio(calibrated)
    learn(calibrated, [batch] * 1000, computed_s=1.5e-3, known_s=1.5e-4, noise=0.2)
    assert ratio(calibrated) == pytest.approx(learnt, rel=0.1)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 20_000),
            st.integers(0, 1_000_000),
            st.floats(-1e9, 1e9, allow_nan=False),
        ),
        max_size=50,
    )
)
def test_no_timing_makes_a_cost_negative_or_a_known_token_dearer_than_a_computed_one(
    batches: list[tuple[int, int, float]],
) -> None:
    duration_model = DurationModel()
    duration_model.calibrate((30, 0.13), (530, 0.63))
    for num_computed, num_known, seconds in batches:
        duration_model.record(num_computed, seconds, num_known=num_known)
        assert 1 / 1001 <= ratio(duration_model) <= 1
        assert duration_model.predict_s(1000) >= 0
        assert duration_model.max_tokens_within(1.0) >= 0


def test_the_warm_up_tells_what_a_known_token_costs() -> None:
    duration_model = DurationModel()
    duration_model.calibrate((30, 0.13), (5030, 5.13), (30, 5000, 0.13 + 5000e-3 / 20))
    assert 1 / 30 < ratio(duration_model) < 1 / 18
    assert duration_model.predict_s(1000) == pytest.approx(1.1)
