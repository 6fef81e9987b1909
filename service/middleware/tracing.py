"""Traces rerank requests by OpenTelemetry. Imported only where that is on: it is an optional extra.

Each request gives one server span, a child of the caller's traceparent, with the children tokenize,
queue and batch, and in the latter forward. They are made when the request is over, of its measured
times.
"""

import time

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers

from blockrank_server.service.middleware.request_record import RequestRecord

_NS = 1_000_000_000


def exporting_provider() -> TracerProvider:
    """Make a provider that sends spans where the OTEL_EXPORTER_OTLP_* variables say.

    OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over our own name.
    """
    # Resource.create would let the attributes it is given win over the variables.
    ours = Resource({"service.name": "blockrank-server"})
    resource = Resource.create(ours.merge(OTELResourceDetector().detect()).attributes)
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class SpanTracer:
    """Makes the spans of requests that are over."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("blockrank-server")
        self._propagator = TraceContextTextMapPropagator()

    def report(self, headers: Headers, record: RequestRecord, status: int) -> None:
        """Make the spans of one request, as children of the traceparent in its headers."""
        now_s = time.perf_counter()
        zero_ns = time.time_ns() - int(now_s * _NS)  # when perf_counter was 0

        def ns(moment_s: float) -> int:
            return zero_ns + int(moment_s * _NS)

        parent = self._tracer.start_span(
            "rerank",
            self._propagator.extract(dict(headers.items())),
            SpanKind.SERVER,
            _attributes(record, status),
            start_time=ns(record.started_s),
        )
        if status >= 500:
            parent.set_status(Status(StatusCode.ERROR, record.reason or ""))
        inside = trace.set_span_in_context(parent)
        for name, start_s, end_s in record.periods():
            span = self._tracer.start_span(name, inside, start_time=ns(start_s))
            if name == "batch":
                forward = self._tracer.start_span(
                    "forward", trace.set_span_in_context(span), start_time=ns(start_s)
                )
                forward.end(ns(start_s + record.infer_s))
            span.end(ns(end_s))
        parent.end(ns(now_s))

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()


def _attributes(record: RequestRecord, status: int) -> dict[str, str | int]:
    return {
        "http.response.status_code": status,
        "rerank.request_id": record.request_id,
        "rerank.dialect": record.dialect or "none",
        "rerank.reason": record.reason or "none",
        "rerank.documents": record.num_documents,
        "rerank.tokens": record.num_tokens,
    }
