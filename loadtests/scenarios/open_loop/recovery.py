"""Measures how long after an overload it takes until all is as before."""

from collections.abc import Sequence

from open_loop.faults import Fault
from open_loop.samples import Sample
from open_loop.statistics import percentile

# So many arrivals in a row that are as before count as recovered.
IN_A_ROW = 10
# "As before" is a latency up to this many times the p95 of the reference stage.
FACTOR = 2.0


def recovery_s(
    reference: Sequence[Sample], after: Sequence[Sample], overload_end_s: float
) -> float | None:
    """Return the seconds to the first of IN_A_ROW arrivals after the overload that fare as before.

    An arrival fares as before if it is scored within FACTOR times the 95th percentile that its
    document count had in the reference stage. Clients at fault, and document counts that the
    reference stage lacks, are left out.

    Returns:
        None if that never came, or the reference stage has no scored request.
    """
    limits = {
        count: FACTOR * p95
        for count in {sample.num_documents for sample in reference}
        if (p95 := percentile(_latencies(reference, count), 0.95)) is not None
    }
    judged = [each for each in after if each.fault is Fault.NONE and each.num_documents in limits]
    judged.sort(key=lambda sample: sample.intended_s)
    row: list[Sample] = []
    for sample in judged:
        is_good = sample.is_scored and sample.latency_s <= limits[sample.num_documents]
        row = [*row, sample] if is_good else []
        if len(row) == IN_A_ROW:
            return row[0].intended_s - overload_end_s
    return None


def _latencies(samples: Sequence[Sample], num_documents: int) -> list[float]:
    return [
        sample.latency_s
        for sample in samples
        if sample.num_documents == num_documents and sample.is_scored and sample.fault is Fault.NONE
    ]
