"""Series of batches and of the queue in front of them."""

from collections.abc import Callable
from enum import StrEnum

from blockrank_server.service.scheduler.metric_factory import Series
from blockrank_server.service.scheduler.running_batch import BatchReport, Drop

TOKENS = tuple(2**i for i in range(6, 21))  # 64 .. 1,048,576
REQUESTS = tuple(2**i for i in range(9))  # 1 .. 256
RATIOS = tuple(i / 10 for i in range(1, 11))


class Incident(StrEnum):
    """What befell a batch on its way, as label `kind` of rerank_batch_incidents_total."""

    FAILED = "failed"
    SPLIT = "split"
    INTERLEAVED = "interleaved"


class BatchMetrics:
    """Counts what the batcher reports.

    Args:
        series: makes them.
        budget: tokens of a full batch.
    """

    def __init__(self, series: Series, budget: int) -> None:
        self._budget = budget
        self._duration = series.seconds("batch", "One forward pass.")
        self._requests = series.histogram("batch_requests", "Requests in a forward pass.", REQUESTS)
        self._tokens = series.histogram("batch_tokens", "Tokens in a forward pass.", TOKENS)
        self._fill = series.histogram("batch_fill_ratio", "Tokens of the token budget.", RATIOS)
        self._incidents = series.counter("batch_incidents", "Batches with an incident.", "kind")
        self._dropped = series.counter("dropped", "Accepted requests that were not run.", "reason")
        self._coalesced = series.counter("coalesced_requests", "Shared another's forward pass.")
        self._busy = series.counter("model_busy_seconds", "Time in forward passes.")
        self._queue_requests = series.gauge("queue_requests", "Waiting.")
        self._queue_tokens = series.gauge("queue_tokens", "Tokens waiting.")
        self._wait = series.gauge("predicted_wait_seconds", "Of a request accepted now.")
        for incident in Incident:
            self._incidents.labels(incident)
        for drop in Drop:
            self._dropped.labels(drop)

    def watch(
        self,
        *,
        num_requests: Callable[[], float],
        num_tokens: Callable[[], float],
        predicted_wait_s: Callable[[], float],
    ) -> None:
        """Read the gauges from these functions whenever they are scraped."""
        self._queue_requests.set_function(num_requests)
        self._queue_tokens.set_function(num_tokens)
        self._wait.set_function(predicted_wait_s)

    def landed(self, report: BatchReport) -> None:
        """Count a batch that gave its scores."""
        self._duration.observe(report.infer_s)
        self._busy.inc(report.infer_s)
        self._requests.observe(report.num_requests)
        self._tokens.observe(report.num_tokens)
        self._fill.observe(report.num_tokens / self._budget)
        if report.was_split:
            self.incident(Incident.SPLIT)
        if report.is_interleaved:
            self.incident(Incident.INTERLEAVED)

    def failed(self) -> None:
        """Count a batch that raised."""
        self.incident(Incident.FAILED)

    def coalesced(self) -> None:
        """Count a request that shares the computation of an identical one."""
        self._coalesced.inc()

    def incident(self, kind: Incident) -> None:
        """Count a batch that failed, was split for memory, or ran between another's layers."""
        self._incidents.labels(kind).inc()

    def dropped(self, reason: Drop) -> None:
        """Count an accepted request that will not be run."""
        self._dropped.labels(reason).inc()
