"""Draws when requests arrive: a Poisson process whose rate is constant within a stage.

The whole schedule is fixed before the first request is sent. Nothing the server does can delay an
arrival, so that a slow server cannot lower the load it is measured under.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from open_loop.faults import Fault
from open_loop.plan import Plan


@dataclass(frozen=True, slots=True)
class Arrival:
    """Describes one request that will be sent.

    Attributes:
        index: its place in the schedule.
        intended_s: when it is due, since the start of the run.
        num_documents: the length of its list.
        list_number: which of the lists with so many documents.
        fault: what is wrong with its client.
    """

    index: int
    intended_s: float
    stage: int
    num_documents: int
    list_number: int
    fault: Fault


def schedule(plan: Plan) -> list[Arrival]:
    """Return every arrival in order of time, the same for the same plan."""
    rng = random.Random(f"arrivals/{plan.seed}")
    seen = dict.fromkeys(plan.list_lengths.counts, 0)
    arrivals = []
    for index, (stage, intended_s) in enumerate(_times(plan, rng)):
        num_documents = plan.list_lengths.draw(rng)
        number = seen[num_documents] % plan.max_lists
        seen[num_documents] += 1
        fault = plan.faults.draw(rng)
        arrivals.append(Arrival(index, intended_s, stage, num_documents, number, fault))
    return arrivals


def _times(plan: Plan, rng: random.Random) -> Iterator[tuple[int, float]]:
    """Yield stage and time of each arrival.

    A gap that would reach beyond its stage is drawn anew from the stage's end on: the process has
    no memory, so this is exact.
    """
    start_s = 0.0
    for place, stage in enumerate(plan.stages):
        now_s, end_s = start_s, start_s + stage.duration_s
        while (now_s := now_s + rng.expovariate(stage.rate_per_s)) < end_s:
            yield place, now_s
        start_s = end_s
