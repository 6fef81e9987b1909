"""What is learnt of the model's speed."""

import pytest

from blockrank_server.service.scheduler.duration_model import Throughput


@pytest.fixture
def throughput() -> Throughput:
    """Used to batches of 100 tokens in a second."""
    throughput = Throughput()
    for _ in range(50):
        throughput.record(100, 1.0)
    return throughput


def test_the_first_batch_is_believed() -> None:
    throughput = Throughput()
    throughput.record(100, 50.0)
    assert throughput.seconds(200) == pytest.approx(100)


def test_a_batch_during_which_the_machine_stood_still_is_forgotten_soon(
    throughput: Throughput,
) -> None:
    throughput.record(100, 3600.0)
    assert throughput.seconds(100) < 1.5
    for _ in range(20):
        throughput.record(100, 1.0)
    assert throughput.seconds(100) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("seconds", [0.1, 10.0])
def test_another_speed_is_learnt(throughput: Throughput, seconds: float) -> None:
    for _ in range(50):
        throughput.record(100, seconds)
    assert throughput.seconds(100) == pytest.approx(seconds, rel=0.1)


def test_short_batches_do_not_make_a_long_one_seem_endless() -> None:
    throughput = Throughput()
    throughput.calibrate((30, 0.13), (530, 0.63))  # 0.1 s a batch, 1 ms a token
    for _ in range(100):
        throughput.record(30, 0.13)
    assert throughput.seconds(30) == pytest.approx(0.13)
    assert throughput.seconds(16_000) == pytest.approx(16.1)
    assert throughput.tokens(16.1) == pytest.approx(16_000)
    assert throughput.tokens(0.05) == 0
    assert throughput.seconds(0) == 0
    assert throughput.more_seconds(1000) == pytest.approx(1)


@pytest.mark.parametrize("many_s", [0.0, 0.1, 0.2], ids=["none", "same", "less than linear"])
def test_odd_timings_give_a_speed_that_can_be_used(many_s: float) -> None:
    throughput = Throughput()
    throughput.calibrate((30, 0.1), (530, many_s))
    assert throughput.seconds(530) == pytest.approx(many_s)
    assert 0 <= throughput.seconds(30) <= many_s
