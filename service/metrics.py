"""Every Prometheus series of the service, all of them there from the start."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from blockrank_server.service.batcher import BatchReport
from blockrank_server.service.errors import all_errors

# Half an octave per bucket: 1 ms .. 32.8 s.
SECONDS = tuple(round(0.001 * 2 ** (i / 2), 6) for i in range(31))
TOKENS = tuple(2**i for i in range(6, 21))  # 64 .. 1,048,576
REQUESTS = tuple(2**i for i in range(9))  # 1 .. 256
DOCUMENTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

SHAPE_LABELS = ("a", "b", "none")  # none: the body did not get as far as a shape
CLIENT_GONE = 499
# Fields other servers know and this one does not; any other name is counted as "other".
KNOWN_IGNORED = (
    *("priority", "user", "request_id", "max_chunks_per_doc", "instruction", "instruct"),
    *("explain", "truncation", "return_len", "backend"),
)


def document_bucket(num_documents: int) -> str:
    """Label of a shortlist's length: the edge at or above it."""
    return next((str(edge) for edge in DOCUMENTS if num_documents <= edge), "more")


def _statuses() -> Iterable[int]:
    return sorted({200, CLIENT_GONE, *(kind.status for kind in all_errors())})


class Metrics:
    """Every series of the service. One instance per app, so tests never share state."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(
            name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
        ) -> Histogram:
            return Histogram(f"rerank_{name}", text, labels, buckets=buckets, registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"rerank_{name}", text, labels, registry=registry)

        self.registry = registry
        self._requests = counter("requests", "Rerank requests.", ("shape", "status"))
        self._duration = histogram(
            "request_duration_seconds",
            "From the first byte of a rerank request to the end of its answer, if it was 200.",
            SECONDS,
            ("shape", "documents"),
        )
        self._tokenize = histogram("tokenize_duration_seconds", "Parse and tokenise.", SECONDS)
        self._queue = histogram("queue_duration_seconds", "From accepted to batched.", SECONDS)
        self._infer = histogram("inference_duration_seconds", "One forward pass.", SECONDS)
        self._batch_requests = histogram("batch_requests", "Requests in a forward pass.", REQUESTS)
        self._batch_tokens = histogram("batch_tokens", "Tokens in a forward pass.", TOKENS)
        self._documents = histogram("documents_per_request", "Length of shortlists.", DOCUMENTS)
        self._truncated = counter("truncated_documents", "Documents that were cut.")
        self._rejected = counter("rejected", "Rerank requests answered by an error.", ("reason",))
        self._ignored = counter("ignored_fields", "Fields without a meaning here.", ("field",))
        self._queue_requests = Gauge("rerank_queue_requests", "Waiting.", registry=registry)
        self._queue_tokens = Gauge("rerank_queue_tokens", "Tokens waiting.", registry=registry)
        self._ready = Gauge("rerank_ready", "1 if ready for requests.", registry=registry)
        self._model = Gauge(
            "rerank_model_info",
            "1 for the model that is served.",
            ("model", "revision", "dtype", "device", "attention"),
            registry=registry,
        )
        self._create_series()
        ProcessCollector(registry=registry)

    def _create_series(self) -> None:
        for shape in SHAPE_LABELS:
            for status in _statuses():
                self._requests.labels(shape, status)
        for shape in SHAPE_LABELS[:2]:
            for edge in (*DOCUMENTS, "more"):
                self._duration.labels(shape, edge)
        for kind in all_errors():
            self._rejected.labels(kind.reason)
        for name in (*KNOWN_IGNORED, "other"):
            self._ignored.labels(name)

    def watch(
        self,
        *,
        num_requests: Callable[[], float],
        num_tokens: Callable[[], float],
        is_ready: Callable[[], float],
    ) -> None:
        """Read the gauges from these functions whenever they are scraped."""
        self._queue_requests.set_function(num_requests)
        self._queue_tokens.set_function(num_tokens)
        self._ready.set_function(is_ready)

    def model_loaded(
        self, *, model: str, revision: str | None, dtype: str, device: str, attention: str
    ) -> None:
        """Say what is served."""
        self._model.labels(model, revision or "", dtype, device, attention).set(1)

    def batch(self, report: BatchReport) -> None:
        """Count a forward pass."""
        self._infer.observe(report.infer_s)
        self._batch_requests.observe(report.num_requests)
        self._batch_tokens.observe(report.num_tokens)

    def encoded(self, *, num_documents: int, num_truncated: int, tokenize_s: float) -> None:
        """Count a request that was tokenised."""
        self._documents.observe(num_documents)
        self._truncated.inc(num_truncated)
        self._tokenize.observe(tokenize_s)

    def queued(self, queue_s: float) -> None:
        """Count the wait of a request that was scored."""
        self._queue.observe(queue_s)

    def rejected(self, reason: str) -> None:
        """Count an error by ServiceError.reason."""
        self._rejected.labels(reason).inc()

    def ignored(self, fields: Iterable[str]) -> None:
        """Count fields that were ignored."""
        for name in fields:
            self._ignored.labels(name if name in KNOWN_IGNORED else "other").inc()

    def finished(
        self, *, shape: str | None, status: int, duration_s: float, num_documents: int
    ) -> None:
        """Count a rerank request that was answered, or whose client has gone."""
        self._requests.labels(shape or "none", status).inc()
        if status == 200 and shape is not None:
            self._duration.labels(shape, document_bucket(num_documents)).observe(duration_s)
