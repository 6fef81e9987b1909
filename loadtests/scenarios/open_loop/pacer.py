"""Runs the open loop itself, without a network: when to send, and from when to count."""

from collections.abc import Callable, Iterable
from typing import Any

from open_loop.arrivals import Arrival
from open_loop.samples import Sample

Clock = Callable[[], float]


def send_when_due(
    arrivals: Iterable[Arrival],
    now_s: Clock,
    sleep: Callable[[float], None],
    start: Callable[[Arrival], None],
) -> None:
    """Start every arrival when it is due, or at once if that has passed; never wait for answers.

    Args:
        arrivals: stand in order of time.
        now_s: tells the time since the start of the run.
        sleep: waits for so many seconds.
        start: begins a request and returns before it is answered.
    """
    for arrival in arrivals:
        if (left_s := arrival.intended_s - now_s()) > 0:
            sleep(left_s)
        start(arrival)


def take_sample(arrival: Arrival, now_s: Clock, send: Callable[[], dict[str, Any]]) -> Sample:
    """Send one request and time it from when it was due: a late start is part of its latency.

    Args:
        arrival: what is to be sent.
        now_s: tells the time since the start of the run.
        send: returns when the request has ended, with status, problem, timing_ms as they apply.
    """
    lag_s = now_s() - arrival.intended_s
    found = send()
    return Sample(
        index=arrival.index,
        stage=arrival.stage,
        num_documents=arrival.num_documents,
        fault=arrival.fault,
        intended_s=arrival.intended_s,
        lag_s=lag_s,
        latency_s=now_s() - arrival.intended_s,
        **found,
    )
