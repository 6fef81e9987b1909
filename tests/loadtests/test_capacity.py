"""The queue's model of loadtests/capacity.py, against what is known of queues."""

import math
import runpy
from pathlib import Path

import pytest

CAPACITY = runpy.run_path(str(Path(__file__).parents[2] / "loadtests" / "capacity.py"))
COUNT = 100_000


def within_one_server(load: float, wait: float) -> float:
    """Erlang's share of requests that wait no longer, one server, service time 1."""
    terms = [
        (load * (k - wait)) ** k / math.factorial(k) * math.exp(-load * (k - wait))
        for k in range(int(wait) + 1)
    ]
    return (1 - load) * sum(terms)


@pytest.mark.parametrize("load", [0.3, 0.5, 0.7])
def test_one_replica_is_erlangs_single_server(load: float) -> None:
    found = CAPACITY["latencies"]([(1.0, 1.0)], load, 1, COUNT, seed=3)
    for share in (0.5, 0.9, 0.99):
        wait = CAPACITY["percentile"](found, share) - 1
        expected = 1 - load if wait < 1e-9 else within_one_server(load, wait)
        assert expected >= share - 0.01 if wait < 1e-9 else abs(expected - share) < 0.01


def test_mean_wait_with_two_service_times_is_pollaczeks() -> None:
    services = [(0.5, 0.5), (1.5, 0.5)]
    found = CAPACITY["latencies"](services, 0.5, 1, COUNT, seed=4)
    mean_square = (0.25 + 2.25) / 2
    expected = 1.0 + 0.5 * mean_square / (2 * (1 - 0.5))
    assert sum(found) / len(found) == pytest.approx(expected, rel=0.03)


def test_more_replicas_at_the_same_load_wait_less() -> None:
    p99 = [
        CAPACITY["percentile"](CAPACITY["latencies"]([(1.0, 1.0)], 0.7 * c, c, COUNT, seed=5), 0.99)
        for c in (1, 2, 4, 8)
    ]
    assert p99 == sorted(p99, reverse=True)
    assert p99[0] > 2 * p99[-1]


def test_a_request_goes_to_an_idle_replica_and_never_behind_a_longer_queue() -> None:
    # At next to no load nobody waits, so every latency is the service time.
    found = CAPACITY["latencies"]([(1.0, 1.0)], 1e-4, 2, 1000, seed=6)
    assert found == pytest.approx([1.0] * len(found))


def test_a_forecast_without_an_end_says_so() -> None:
    text = CAPACITY["forecast"]([(300.0, 1.0)], 5.0, [1, 2], 20_000)
    one, two = text.splitlines()[2:]
    assert "without end" in one
    assert "75%" in two
    assert "without end" not in two


def test_a_mix_is_read_with_shares_or_without() -> None:
    assert CAPACITY["read_mix"]("237:0.6,357:0.4") == [(237.0, 0.6), (357.0, 0.4)]
    assert CAPACITY["read_mix"]("80") == [(80.0, 1.0)]
