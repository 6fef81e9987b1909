"""Computes statistics of a group of samples. Percentiles are exact: of all, none rounded."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from open_loop.faults import Fault
from open_loop.samples import LEFT, TIMEOUT, WRONG, Sample

Statistics = dict[str, Any]

QUANTILES = (0.5, 0.95, 0.99)
TIMINGS = ("tokenize", "queue", "infer")
# Statuses with a column of their own; every other but 200 is "other".
STATUSES = (429, 503, 504)
# A p99 of fewer samples is little but the largest of them.
MIN_FOR_RATIO = 20


def percentile(values: Sequence[float], q: float) -> float | None:
    """Return the smallest value that at least a share q of the values does not exceed, or None."""
    if not 0 < q <= 1:
        raise ValueError(f"q is {q}, not within (0, 1]")
    if not values:
        return None
    # 0.95 * 20 is 19.000000000000004 on some ways to write it: no rank more for that.
    rank = math.ceil(round(q * len(values), 9))
    return sorted(values)[rank - 1]


@dataclass(frozen=True, slots=True)
class Terms:
    """Holds what the statistics are relative to.

    Attributes:
        duration_s: how long the time was in which the samples arrived.
        capacity_documents_per_s: documents scored a second at saturation.
        answer_within_s: a later answer is no goodput.
        num_offered: arrivals that were due; None for as many as there are samples.
    """

    duration_s: float
    capacity_documents_per_s: float
    answer_within_s: float
    num_offered: int | None = None


def summarize(samples: Sequence[Sample], terms: Terms) -> Statistics:
    """Return counts, rates, latencies and the server's split; times in ms, None of no sample.

    goodput_share is by documents, so that a server gains nothing by refusing the long lists: those
    scored in time, of those offered by clients that stay, or of the capacity if it is less.
    """
    scored = [sample for sample in samples if sample.is_scored]
    staying = [sample for sample in samples if not sample.fault.leaves]
    good = [each for each in staying if each.is_scored and each.latency_s <= terms.answer_within_s]
    offered = len(samples) if terms.num_offered is None else terms.num_offered
    possible = min(_documents(staying), terms.capacity_documents_per_s * terms.duration_s)
    return {
        "offered": offered,
        "offered_per_s": offered / terms.duration_s,
        "scored": len(scored),
        "achieved_per_s": len(scored) / terms.duration_s,
        "goodput_per_s": len(good) / terms.duration_s,
        "goodput_share": _documents(good) / possible if possible else None,
        "error_share": _share_of_errors(staying),
        **_outcomes(samples, offered),
        **_latencies(scored, samples),
        **_timings(scored),
    }


def _documents(samples: Sequence[Sample]) -> int:
    return sum(sample.num_documents for sample in samples)


def _share_of_errors(staying: Sequence[Sample]) -> float | None:
    if not staying:
        return None
    return sum(not sample.is_scored for sample in staying) / len(staying)


def _outcomes(samples: Sequence[Sample], offered: int) -> Statistics:
    statuses = Counter(sample.status for sample in samples if sample.status not in (None, 200))
    problems = Counter(sample.problem for sample in samples if sample.problem is not None)
    num_timeouts, num_wrong = problems[TIMEOUT], problems[WRONG]
    num_failures = problems.total() - problems[LEFT] - num_timeouts - num_wrong
    return {
        **{f"status_{status}": statuses[status] for status in STATUSES},
        "status_other": statuses.total() - sum(statuses[status] for status in STATUSES),
        "left": problems[LEFT],
        "wrong_answers": num_wrong,
        "client_failures": num_failures,
        "unanswered": offered - len(samples) + num_timeouts,
        "problems": dict(problems),
    }


def _latencies(scored: Sequence[Sample], samples: Sequence[Sample]) -> Statistics:
    # A slow client's latency is its own doing.
    latencies = [1e3 * sample.latency_s for sample in scored if sample.fault is Fault.NONE]
    rejected = [1e3 * sample.latency_s for sample in samples if sample.status == 429]
    found: Statistics = {f"p{q * 100:.0f}_ms": percentile(latencies, q) for q in QUANTILES}
    return found | {
        "max_ms": max(latencies, default=None),
        "p99_over_p50": (
            found["p99_ms"] / found["p50_ms"] if len(latencies) >= MIN_FOR_RATIO else None
        ),
        "rejected_p50_ms": percentile(rejected, 0.5),
        "rejected_p99_ms": percentile(rejected, 0.99),
    }


def _timings(scored: Sequence[Sample]) -> Statistics:
    found: Statistics = {}
    for name in TIMINGS:
        values = [sample.timing_ms[name] for sample in scored if name in sample.timing_ms]
        found[f"{name}_p50_ms"] = percentile(values, 0.5)
        found[f"{name}_p99_ms"] = percentile(values, 0.99)
    return found


def lag_statistics(samples: Sequence[Sample]) -> Statistics:
    """Measure how late the generator sent."""
    lags = [1e3 * sample.lag_s for sample in samples]
    return {
        "lag_p50_ms": percentile(lags, 0.5),
        "lag_p99_ms": percentile(lags, 0.99),
        "lag_max_ms": max(lags, default=None),
    }
