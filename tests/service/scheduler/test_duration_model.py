"""What is learnt of the model's speed."""

import pytest

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
