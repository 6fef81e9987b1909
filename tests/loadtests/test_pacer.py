"""The open loop on a clock of its own."""

from typing import TYPE_CHECKING, Any

import pytest

from open_loop.arrivals import Arrival, schedule
from open_loop.pacer import send_when_due, take_sample
from open_loop.samples import TIMEOUT

if TYPE_CHECKING:
    from tests.loadtests.conftest import MakePlan


class FakeClock:
    def __init__(self) -> None:
        self.at_s = 0.0

    def now_s(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.at_s += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_requests_start_when_they_are_due(make_plan: "MakePlan", clock: FakeClock) -> None:
    arrivals = schedule(make_plan((5.0, 20.0)))
    started_s: list[float] = []
    send_when_due(arrivals, clock.now_s, clock.sleep, lambda _: started_s.append(clock.at_s))
    assert started_s == pytest.approx([arrival.intended_s for arrival in arrivals])


def test_a_generator_that_was_held_up_catches_up_at_once(
    make_plan: "MakePlan", clock: FakeClock
) -> None:
    arrivals = schedule(make_plan((5.0, 20.0)))
    held = arrivals[10]
    started: list[tuple[Arrival, float]] = []

    def start(arrival: Arrival) -> None:
        started.append((arrival, clock.at_s))
        if arrival is held:
            clock.at_s += 4.0

    send_when_due(arrivals, clock.now_s, clock.sleep, start)
    assert [arrival for arrival, _ in started] == arrivals
    back_s = held.intended_s + 4.0
    late = [at_s for arrival, at_s in started if held.intended_s < arrival.intended_s <= back_s]
    assert len(late) > 10
    assert late == pytest.approx([back_s] * len(late))


def test_latency_counts_from_when_the_request_was_due(
    make_plan: "MakePlan", clock: FakeClock
) -> None:
    arrival = schedule(make_plan((5.0, 20.0)))[3]
    clock.at_s = arrival.intended_s + 1.5

    def send() -> dict[str, Any]:
        clock.at_s += 0.25
        return {"status": None, "problem": TIMEOUT}

    sample = take_sample(arrival, clock.now_s, send)
    assert (sample.lag_s, sample.latency_s) == pytest.approx((1.5, 1.75))
    assert (sample.index, sample.intended_s) == (3, arrival.intended_s)
    assert (sample.status, sample.problem, sample.is_scored) == (None, TIMEOUT, False)
