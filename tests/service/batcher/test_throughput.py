"""What is learnt of the model's speed."""

import pytest

from blockrank_server.service.throughput import Throughput


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
