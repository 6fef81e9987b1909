"""Makes the report of one run as one JSON object; markdown.py and plot.py show it."""

import dataclasses
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from open_loop.arrivals import Arrival
from open_loop.fifo_baseline import fifo_latencies_s
from open_loop.memory import cpu_statistics, memory_statistics
from open_loop.objectives import Verdict, judge
from open_loop.plan import Plan
from open_loop.reconciliation import Reconciliation
from open_loop.recovery import recovery_s
from open_loop.samples import Reading, Sample
from open_loop.scenarios import Scenario
from open_loop.statistics import Statistics, Terms, lag_statistics, percentile, summarize


@dataclass(frozen=True, slots=True)
class Run:
    """Holds everything that was found out.

    Attributes:
        arrivals: what was due, and when.
        samples: what became of each request, in order of arrival.
        readings: what server and generator used, in order of time.
        reconciliation: compares both sides' counts.
        capacity_per_s: the rates are shares of it.
        answer_within_s: a later answer is no goodput.
    """

    scenario: Scenario
    plan: Plan
    arrivals: Sequence[Arrival]
    samples: Sequence[Sample]
    readings: Sequence[Reading]
    reconciliation: Reconciliation
    capacity_per_s: float
    answer_within_s: float

    @property
    def capacity_documents_per_s(self) -> float:
        """Return the documents scored a second at saturation."""
        return self.capacity_per_s * self.plan.list_lengths.mean

    def stage(self, place: int) -> list[Sample]:
        """Samples of a stage."""
        return [sample for sample in self.samples if sample.stage == place]


@dataclass(frozen=True, slots=True)
class RunReport:
    """Holds what is written.

    Attributes:
        body: what is written as JSON.
        verdicts: one for each objective of the scenario.
    """

    body: dict[str, Any]
    verdicts: list[Verdict]

    @property
    def is_met(self) -> bool:
        """Say whether every objective is met."""
        return all(verdict.is_met for verdict in self.verdicts)


def make_report(run: Run, conditions: dict[str, Any]) -> RunReport:
    """Put the report of a run together.

    Args:
        conditions: hardware, versions and settings, written as they are.
    """
    measured = {place for place, stage in enumerate(run.plan.stages) if stage.is_measured}
    counts = _by_count(run, measured)
    stages = {
        stage.name: _statistics(run, {place}) | _stage_facts(run, place)
        for place, stage in enumerate(run.plan.stages)
    }
    total = _total(run, measured, counts)
    parts = {**stages, **{f"{count} documents": row for count, row in counts.items()}}
    verdicts = judge(run.scenario.objectives, total, parts)
    body = {
        "scenario": run.scenario.name,
        "purpose": run.scenario.purpose,
        "conditions": conditions,
        "objectives": [
            {"objective": str(v.objective), "value": v.value, "is_met": v.is_met} for v in verdicts
        ],
        "total": total,
        "documents": {str(count): row for count, row in counts.items()},
        "stages": stages,
        "reconciliation": dataclasses.asdict(run.reconciliation)
        | {"received": run.reconciliation.num_received, "sent": run.reconciliation.num_sent},
        "readings": [dataclasses.asdict(reading) for reading in run.readings],
    }
    return RunReport(body, verdicts)


def _total(run: Run, measured: set[int], counts: dict[int, Statistics]) -> Statistics:
    """Return the measured stages' statistics; what must never happen is counted in all stages."""
    whole = _statistics(run, set(range(len(run.plan.stages))))
    never = ("unanswered", "client_failures", "wrong_answers")
    return {
        **_statistics(run, measured),
        **{name: whole[name] for name in never},
        "largest_p99_over_p50": counts[max(counts)]["p99_over_p50"],
        "worst_p99_over_fifo": _worst(counts.values(), "p99_over_fifo"),
        "unreconciled": run.reconciliation.num_unreconciled,
        "recovery_s": _recovery_s(run),
        **lag_statistics(run.samples),
        **memory_statistics(run.readings),
        **cpu_statistics(run.readings, os.cpu_count() or 1),
    }


def _statistics(run: Run, places: Iterable[int]) -> Statistics:
    chosen = set(places)
    samples = [sample for sample in run.samples if sample.stage in chosen]
    due = [arrival.num_documents for arrival in run.arrivals if arrival.stage in chosen]
    duration_s = sum(run.plan.stages[place].duration_s for place in chosen)
    capacity = run.capacity_documents_per_s
    terms = Terms(duration_s, capacity, run.answer_within_s, len(due))
    return summarize(samples, terms) | {"offered_load": sum(due) / duration_s / capacity}


def _by_count(run: Run, places: set[int]) -> dict[int, Statistics]:
    """Return statistics by document count, with goodput as a share of what was offered."""
    duration_s = sum(run.plan.stages[place].duration_s for place in places)
    capacity = run.capacity_documents_per_s
    fifo_s = fifo_latencies_s(run.arrivals, capacity)
    rows = {}
    for count in run.plan.list_lengths.counts:
        mine = [s for s in run.samples if s.stage in places and s.num_documents == count]
        due = [a.index for a in run.arrivals if a.stage in places and a.num_documents == count]
        terms = Terms(duration_s, math.inf, run.answer_within_s, len(due))
        row = summarize(mine, terms)
        row["offered_load"] = row["offered_per_s"] * count / capacity
        rows[count] = row | _beside_fifo(row, percentile([fifo_s[index] for index in due], 0.99))
    return rows


def _beside_fifo(row: Statistics, fifo_p99_s: float | None) -> Statistics:
    if fifo_p99_s is None:
        return {"fifo_p99_ms": None, "p99_over_fifo": None}
    ratio = None if row["p99_ms"] is None else row["p99_ms"] / (1e3 * fifo_p99_s)
    return {"fifo_p99_ms": 1e3 * fifo_p99_s, "p99_over_fifo": ratio}


def _worst(rows: Iterable[Statistics], name: str) -> float | None:
    return max((row[name] for row in rows if row[name] is not None), default=None)


def _stage_facts(run: Run, place: int) -> dict[str, Any]:
    stage = run.plan.stages[place]
    return {
        "rate_per_s": stage.rate_per_s,
        "duration_s": stage.duration_s,
        "is_measured": stage.is_measured,
    }


def _recovery_s(run: Run) -> float | None:
    scenario, plan = run.scenario, run.plan
    if scenario.reference is None or not scenario.overloads:
        return None
    last = plan.place_of(scenario.overloads[-1])
    after = [sample for sample in run.samples if sample.stage > last]
    reference = run.stage(plan.place_of(scenario.reference))
    return recovery_s(reference, after, plan.stage_start_s(last + 1))
