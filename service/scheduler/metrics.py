"""Defines the series of the model, of its batches and of the queue in front of them."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial

from blockrank_server.models.document_cache.document_cache import CacheStats
from blockrank_server.models.document_cache.store_stats import StoreStats
from blockrank_server.service.scheduler.document_cache_collector import DocumentCacheCollector
from blockrank_server.service.scheduler.job import Drop
from blockrank_server.service.scheduler.metric_factory import MetricFactory
from blockrank_server.service.scheduler.running_batch import BatchReport

TOKENS = tuple(2**i for i in range(6, 21))  # 64 .. 1,048,576
REQUESTS = tuple(2**i for i in range(9))  # 1 .. 256
RATIOS = tuple(i / 10 for i in range(1, 11))

MODEL_LABELS = ("model", "revision", "dtype", "device", "attention", "quantization")
MEMORY_KINDS = ("used", "total")


class Incident(StrEnum):
    """Names what befell a batch, as label `kind` of rerank_batch_incidents_total."""

    FAILED = "failed"
    SPLIT = "split"
    PREEMPTING = "preempting"
    ABORTED = "aborted"


class SchedulerMetrics:
    """Counts what the batcher reports, and says what is served and whether it is ready.

    Args:
        max_batch_tokens: tokens of a full batch.
    """

    def __init__(self, series: MetricFactory, max_batch_tokens: int) -> None:
        self._series, self._max_batch_tokens = series, max_batch_tokens
        self._duration = series.seconds("batch", "One forward pass.")
        self._requests = series.histogram("batch_requests", "Requests in a forward pass.", REQUESTS)
        self._tokens = series.histogram("batch_tokens", "Tokens in a forward pass.", TOKENS)
        self._fill = series.histogram("batch_fill_ratio", "Tokens of the token budget.", RATIOS)
        self._incidents = series.counter("batch_incidents", "Batches with an incident.", "kind")
        self._dropped = series.counter("dropped", "Accepted, but not run to the end.", "reason")
        self._busy = series.counter("model_busy_seconds", "Time in forward passes.")
        self._queue_requests = series.gauge("queue_requests", "Requests waiting.")
        self._queue_tokens = series.gauge("queue_tokens", "Tokens waiting.")
        self._wait = series.gauge("predicted_wait_seconds", "Wait of a request accepted now.")
        self._memory = series.gauge("device_memory_bytes", "Memory of the model's device.", "kind")
        self._ready = series.gauge("ready", "1 if ready for requests.")
        self._model = series.gauge("model_info", "1 for the model served.", *MODEL_LABELS)
        for incident in Incident:
            self._incidents.labels(incident)
        for drop in Drop:
            self._dropped.labels(drop)
        for kind in MEMORY_KINDS:
            self._memory.labels(kind)

    def watch(
        self,
        *,
        is_ready: Callable[[], float],
        num_requests: Callable[[], float],
        num_tokens: Callable[[], float],
        predicted_wait_s: Callable[[], float],
    ) -> None:
        """Read the gauges from these functions whenever they are scraped."""
        self._ready.set_function(is_ready)
        self._queue_requests.set_function(num_requests)
        self._queue_tokens.set_function(num_tokens)
        self._wait.set_function(predicted_wait_s)

    def model_loaded(
        self,
        labels: Mapping[str, str],
        used_and_total_bytes: Callable[[], tuple[int, int]],
        document_cache_stats: Callable[[], CacheStats],
        document_store_stats: Callable[[], StoreStats] = StoreStats,
    ) -> None:
        """Say what is served.

        Args:
            labels: those of rerank_model_info.
            used_and_total_bytes: memory of the device, read whenever it is scraped.
            document_cache_stats: state of the document cache, read likewise.
            document_store_stats: state of its store, read likewise.
        """
        self._model.labels(**labels).set(1)
        self._series.collector(DocumentCacheCollector(document_cache_stats, document_store_stats))
        for place, kind in enumerate(MEMORY_KINDS):
            read = partial(lambda place: used_and_total_bytes()[place], place)
            self._memory.labels(kind).set_function(read)

    def completed(self, report: BatchReport) -> None:
        """Count a batch that gave its scores."""
        self._duration.observe(report.infer_s)
        self._busy.inc(report.infer_s)
        self._requests.observe(report.num_requests)
        self._tokens.observe(report.num_tokens)
        self._fill.observe(report.num_tokens / self._max_batch_tokens)
        if report.was_split:
            self.incident(Incident.SPLIT)
        if report.is_preempting:
            self.incident(Incident.PREEMPTING)

    def failed(self) -> None:
        """Count a batch that raised."""
        self.incident(Incident.FAILED)

    def aborted(self, busy_s: float) -> None:
        """Count a batch that was ended because nobody waited for it."""
        self._busy.inc(busy_s)
        self.incident(Incident.ABORTED)

    def incident(self, kind: Incident) -> None:
        """Count a batch that failed, was split for memory, preempted another, or was ended."""
        self._incidents.labels(kind).inc()

    def dropped(self, reason: Drop) -> None:
        """Count an accepted request that will not be run, or not to its end."""
        self._dropped.labels(reason).inc()
