"""Defines every Prometheus series of the service, all of them there from the start.

Label `documents` is the bucket of a shortlist's length: the edge at or above it, or "more".
Label `ended` tells what ended a chain of reasoning.
Label `cached` tells which of its documents were known, where any are kept.
"""

from collections.abc import Iterable
from enum import StrEnum

from prometheus_client import CollectorRegistry, ProcessCollector

from blockrank_server.models.reasoning.chain import End
from blockrank_server.models.reasoning.request import Reasoned
from blockrank_server.service.errors import all_errors
from blockrank_server.service.scheduler.job import DOCUMENT_EDGES, document_bucket
from blockrank_server.service.scheduler.metric_factory import MetricFactory
from blockrank_server.service.scheduler.metrics import SchedulerMetrics

BUCKETS = (*map(str, DOCUMENT_EDGES), "more")

CHAIN_TOKENS = tuple(2**i for i in range(4, 14))  # 16 .. 8,192

NO_DIALECT = "none"  # the body did not get as far as a dialect
CLIENT_GONE = 499
# Fields other servers know and this one does not; any other name is counted as "other".
KNOWN_IGNORED = (
    *("priority", "user", "request_id", "instruction", "instruct"),
    *("explain", "return_len", "backend", "overrides", "rewrite_query", "summary"),
    *("mm_processor_kwargs", "top_n", "top_k", "truncation_direction", "truncation_side"),
)
# What becomes of documents without a query: `known` or `computed`, and maybe `truncated`.
FILL_OUTCOMES = ("known", "computed", "truncated", "blank", "forgotten")


class CachedShare(StrEnum):
    """Names how many documents of a request were known, as label `cached`."""

    NONE = "none"
    SOME = "some"
    ALL = "all"

    @classmethod
    def of(cls, num_known: int, num_documents: int) -> "CachedShare":
        if not num_known:
            return cls.NONE
        return cls.ALL if num_known == num_documents else cls.SOME


def _statuses() -> Iterable[int]:
    return sorted({200, CLIENT_GONE, *(kind.status for kind in all_errors())})


class Metrics:
    """Holds every series of the service. Each app has its own instance, so tests share no state.

    Args:
        registry: nothing else may register there.
        dialects: names of the dialects, the values of label `dialect`.
        batch_budget: tokens of a full batch.

    Attributes:
        scheduler: series of the model, its batches and its queue.
    """

    def __init__(
        self, registry: CollectorRegistry, dialects: Iterable[str], batch_budget: int
    ) -> None:
        series = MetricFactory(registry)
        self.registry = registry
        self.scheduler = SchedulerMetrics(series, batch_budget)
        self._requests = series.counter("requests", "Rerank requests.", "dialect", "status")
        self._rejected = series.counter("rejected", "Requests answered by an error.", "reason")
        self._duration = series.seconds(
            "request", "From first byte to a 200's last.", "documents", "cached"
        )
        self._tokenize = series.seconds("tokenize", "Parse and tokenise.", "documents")
        self._queue = series.seconds("queue", "From accepted to batched.", "documents")
        self._infer = series.seconds("inference", "Forward pass of its batch.", "documents")
        self._documents = series.counter("documents", "Documents scored.", "documents", "cached")
        self._tokens = series.counter("tokens", "Tokens of the requests scored.", "documents")
        self._lengths = series.histogram(
            "documents_per_request", "Documents of one request.", DOCUMENT_EDGES
        )
        self._truncated = series.counter("truncated_documents", "Documents that were cut.")
        self._filled = series.counter(
            "filled_documents", "Documents of POST and DELETE /documents.", "outcome"
        )
        self._ignored = series.counter("ignored_fields", "Fields without a meaning here.", "field")
        self._generated = series.counter("generated_tokens", "Tokens of chains of reasoning.")
        self._chains = series.counter("chains", "Chains of reasoning.", "ended")
        self._chain_tokens = series.histogram("chain_tokens", "Tokens of a chain.", CHAIN_TOKENS)
        self._create_series(dialects)
        self._create_cached_series(CachedShare.NONE)
        ProcessCollector(registry=registry)

    def documents_are_kept(self) -> None:
        """Make room for requests some or all of whose documents are known. Thread-safe."""
        for share in CachedShare:
            self._create_cached_series(share)

    def _create_cached_series(self, share: CachedShare) -> None:
        for bucket in BUCKETS:
            self._duration.labels(bucket, share)
            self._documents.labels(bucket, share)

    def _create_series(self, dialects: Iterable[str]) -> None:
        for dialect in (*dialects, NO_DIALECT):
            for status in _statuses():
                self._requests.labels(dialect, status)
        for bucket in BUCKETS:
            for stage in (self._tokenize, self._queue, self._infer):
                stage.labels(bucket)
            self._tokens.labels(bucket)
        for error in all_errors():
            self._rejected.labels(error.reason)
        for outcome in FILL_OUTCOMES:
            self._filled.labels(outcome)
        for name in (*KNOWN_IGNORED, "other"):
            self._ignored.labels(name)
        for end in End:
            self._chains.labels(end)

    def encoded(self, *, num_documents: int, num_truncated: int, tokenize_s: float) -> None:
        """Count a request that was tokenised."""
        self._lengths.observe(num_documents)
        self._truncated.inc(num_truncated)
        self._tokenize.labels(document_bucket(num_documents)).observe(tokenize_s)

    def scored(
        self,
        *,
        num_documents: int,
        num_tokens: int,
        queue_s: float,
        infer_s: float,
        cached: CachedShare,
    ) -> None:
        """Count a request that has its scores."""
        bucket = document_bucket(num_documents)
        self._queue.labels(bucket).observe(queue_s)
        self._infer.labels(bucket).observe(infer_s)
        self._documents.labels(bucket, cached).inc(num_documents)
        self._tokens.labels(bucket).inc(num_tokens)

    def reasoned(self, found: Iterable[Reasoned]) -> None:
        """Count the chains of a request that has its scores."""
        for each in found:
            self._generated.inc(each.num_tokens)
            self._chain_tokens.observe(each.num_tokens)
            self._chains.labels(each.end).inc()

    def rejected(self, reason: str) -> None:
        """Count an error by ServiceError.reason."""
        self._rejected.labels(reason).inc()

    def filled(self, outcome: str, number: int) -> None:
        """Count documents by one of FILL_OUTCOMES."""
        self._filled.labels(outcome).inc(number)

    def ignored(self, fields: Iterable[str]) -> None:
        """Count fields that were ignored."""
        for name in fields:
            self._ignored.labels(name if name in KNOWN_IGNORED else "other").inc()

    def finished(
        self,
        *,
        dialect: str | None,
        status: int,
        duration_s: float,
        num_documents: int,
        cached: CachedShare = CachedShare.NONE,
    ) -> None:
        """Count a rerank request that was answered, or whose client has gone."""
        self._requests.labels(dialect or NO_DIALECT, status).inc()
        if status == 200:
            self._duration.labels(document_bucket(num_documents), cached).observe(duration_s)
