from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import ValidationError

from blockrank_server.service import settings as settings_module
from blockrank_server.service.middleware import tracing
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker, MakeClient

BODY = {"query": "secret a", "documents": ["secret a", "b"]}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "exporting_provider", lambda: provider)
    return exporter


def spans(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def times(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


def test_a_request_is_a_tree_of_spans_below_the_callers(
    make_client: "MakeClient", exporter: InMemorySpanExporter
) -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "X-Request-ID": "mine"}
    with make_client(tracing=True) as client:
        assert client.post("/rerank", json=BODY, headers=headers).status_code == 200
    found = spans(exporter)
    assert set(found) == {"rerank", "tokenize", "queue", "batch", "forward"}
    root = found["rerank"]
    assert root.context is not None
    assert f"{root.context.trace_id:032x}" == TRACE_ID
    assert f"{parent_of(root):016x}" == SPAN_ID
    assert parent_of(found["tokenize"]) == parent_of(found["queue"]) == root.context.span_id
    batch = found["batch"]
    assert batch.context is not None
    assert parent_of(found["forward"]) == batch.context.span_id
    assert root.attributes is not None
    assert root.attributes["rerank.documents"] == 2
    assert root.attributes["rerank.request_id"] == "mine"
    start, end = times(root)
    edges = [start, *times(found["tokenize"]), *times(batch), end]
    assert edges == sorted(edges)


def test_no_text_of_a_caller_is_in_a_span(
    make_client: "MakeClient", exporter: InMemorySpanExporter
) -> None:
    with make_client(tracing=True) as client:
        client.post("/rerank", json=BODY)
    assert "secret" not in "".join(span.to_json() for span in exporter.get_finished_spans())


def test_a_failure_is_an_error_and_a_refusal_is_not(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]", exporter: InMemorySpanExporter
) -> None:
    def fail(batch: Any) -> None:
        raise RuntimeError("secret")

    with make_client(fake_ranker(before_score=fail), tracing=True) as client:
        assert client.post("/rerank", json=BODY).status_code == 500
        assert spans(exporter)["rerank"].status.description == "inference"
        exporter.clear()
        assert client.post("/rerank", content=b"{").status_code == 400
        assert set(spans(exporter)) == {"rerank"}
        assert spans(exporter)["rerank"].status.is_unset


@pytest.mark.parametrize("header", ["", "00-x-y-01", "ff-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_bad_traceparent_starts_a_new_trace(
    make_client: "MakeClient", exporter: InMemorySpanExporter, header: str
) -> None:
    with make_client(tracing=True) as client:
        assert client.post("/rerank", json=BODY, headers={"traceparent": header}).is_success
    assert spans(exporter)["rerank"].parent is None


def test_probes_are_not_traced(make_client: "MakeClient", exporter: InMemorySpanExporter) -> None:
    with make_client(tracing=True) as client:
        client.get("/metrics")
    assert spans(exporter) == {}


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("OTEL_SERVICE_NAME", "rerank-blue", "rerank-blue"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=rerank-green", "rerank-green"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test", "blockrank-server"),
        ("OTEL_SERVICE_NAME", "", "blockrank-server"),
    ],
)
def test_the_operators_service_name_wins(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, name: str
) -> None:
    for each in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, value)
    provider = tracing.exporting_provider()
    provider.shutdown()
    assert provider.resource.attributes["service.name"] == name


def test_tracing_without_its_packages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module, "find_spec", lambda name: None)
    with pytest.raises(ValidationError, match=r"blockrank-server\[tracing\]"):
        Settings(tracing=True)
