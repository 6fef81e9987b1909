"""Compares the server's own count of requests, from its /metrics, with the generator's."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from open_loop.samples import LEFT, TIMEOUT, Sample

REQUESTS = "rerank_requests_total"
# Counters whose growth over a run is reported, by one label.
COUNTERS = {
    REQUESTS: "status",
    "rerank_rejected_total": "reason",
    "rerank_dropped_total": "reason",
    "rerank_batch_incidents_total": "kind",
}
QUEUE = "rerank_queue_requests"


@dataclass(frozen=True, slots=True)
class Scrape:
    """Holds what one reading of /metrics said.

    Attributes:
        counts: value by counter and label.
        waiting: requests in the queue.
    """

    counts: Mapping[str, Mapping[str, float]]
    waiting: float


def read_metrics(text: str) -> Scrape:
    """Read counters and queue from Prometheus' text format.

    Raises:
        ValueError: the server has no count of requests; it is not ours.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in COUNTERS}
    found, waiting = False, 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if label := COUNTERS.get(sample.name):
                found |= sample.name == REQUESTS
                counts[sample.name][sample.labels[label]] += sample.value  # type: ignore[assignment]
            elif sample.name == QUEUE:
                waiting = sample.value
    if not found:
        raise ValueError(f"/metrics has no {REQUESTS}")
    return Scrape(counts, waiting)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Puts the server's and the generator's counts of one run side by side.

    Attributes:
        server: growth of each counter by its label, zeros left out.
        answered: statuses the generator got.
        num_left: requests whose client went away; the server may have ended them anyhow.
        num_timeouts: requests the generator gave up.
        waiting: requests in the server's queue after the run.
    """

    server: Mapping[str, Mapping[str, int]]
    answered: Mapping[str, int]
    num_left: int
    num_timeouts: int
    waiting: int

    @property
    def num_received(self) -> int:
        """Count the requests that reached the server and were ended by it."""
        return sum(self.server[REQUESTS].values())

    @property
    def num_sent(self) -> int:
        """Count the requests that the generator sent in a connection that held."""
        return sum(self.answered.values()) + self.num_left + self.num_timeouts

    @property
    def num_unreconciled(self) -> int:
        """Count requests on which the sides differ; 0 means that all accepted ones were
        answered."""
        counted = self.server[REQUESTS]
        unknown = sum(max(0, n - counted.get(status, 0)) for status, n in self.answered.items())
        return abs(self.num_received - self.num_sent) + unknown + self.waiting


def reconcile(before: Scrape, after: Scrape, samples: Iterable[Sample]) -> Reconciliation:
    """Compares both sides after a run, which must have had the server to itself."""
    server = {
        name: {
            label: round(value - before.counts[name].get(label, 0))
            for label, value in after.counts[name].items()
            if value != before.counts[name].get(label, 0)
        }
        for name in COUNTERS
    }
    answered: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    for sample in samples:
        if sample.status is not None:
            answered[str(sample.status)] += 1
        elif sample.problem is not None:
            problems[sample.problem] += 1
    return Reconciliation(
        server, dict(answered), problems[LEFT], problems[TIMEOUT], round(after.waiting)
    )
