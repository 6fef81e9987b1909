import itertools
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from blockrank_server.service.scheduler.metric_factory import SECONDS

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker, MakeClient

BODY = {"query": "a b", "texts": ["a", "b", "c " * 60], "foo": 1, "priority": 2}
NAMES = {
    "rerank_requests": "counter",
    "rerank_request_duration_seconds": "histogram",
    "rerank_documents": "counter",
    "rerank_tokens": "counter",
    "rerank_batch_duration_seconds": "histogram",
    "rerank_batch_fill_ratio": "histogram",
    "rerank_batch_incidents": "counter",
    "rerank_dropped": "counter",
    "rerank_model_busy_seconds": "counter",
    "rerank_predicted_wait_seconds": "gauge",
    "rerank_device_memory_bytes": "gauge",
    "rerank_queue_duration_seconds": "histogram",
    "rerank_tokenize_duration_seconds": "histogram",
    "rerank_inference_duration_seconds": "histogram",
    "rerank_queue_tokens": "gauge",
    "rerank_queue_requests": "gauge",
    "rerank_batch_requests": "histogram",
    "rerank_batch_tokens": "histogram",
    "rerank_documents_per_request": "histogram",
    "rerank_truncated_documents": "counter",
    "rerank_rejected": "counter",
    "rerank_ignored_fields": "counter",
    "rerank_model_info": "gauge",
    "rerank_ready": "gauge",
    "rerank_document_cache_hits": "counter",
    "rerank_document_cache_misses": "counter",
    "rerank_document_cache_evictions": "counter",
    "rerank_document_cache_entries": "gauge",
    "rerank_document_cache_bytes": "gauge",
    "rerank_document_cache_max_bytes": "gauge",
    "rerank_document_store_hits": "counter",
    "rerank_document_store_misses": "counter",
    "rerank_document_store_writes": "counter",
    "rerank_document_store_dropped": "counter",
    "rerank_document_store_evictions": "counter",
    "rerank_document_store_read_seconds": "counter",
    "rerank_document_store_failures": "counter",
    "rerank_document_store_entries": "gauge",
    "rerank_document_store_bytes": "gauge",
    "rerank_document_store_max_bytes": "gauge",
    "rerank_filled_documents": "counter",
    "rerank_generated_tokens": "counter",
    "rerank_chains": "counter",
    "rerank_chain_tokens": "histogram",
}


def samples(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples}


def value(client: TestClient, name: str, **labels: Any) -> float:
    return samples(client)[name, frozenset(labels.items())]


def test_every_name_is_there_before_the_first_request(client: TestClient) -> None:
    families = text_string_to_metric_families(client.get("/metrics").text)
    found = {f.name: f.type for f in families if f.name.startswith("rerank_")}
    assert {name: kind for name, kind in found.items() if "_created" not in name} == NAMES


def test_requests_create_no_new_series(client: TestClient) -> None:
    before = set(samples(client))
    for content in (b"{", b"{}", b'{"query":"q","texts":["a"],"anything":1}'):
        for path in ("/rerank", "/v1/rerank", "/what/ever"):
            client.post(path, content=content)
    client.post("/rerank", json={"query": "q", "documents": ["a"] * 1001})
    client.post("/rerank", json=BODY)
    assert set(samples(client)) == before


def test_an_answered_request_is_counted(client: TestClient) -> None:
    assert client.post("/rerank", json=BODY).status_code == 200
    found = samples(client)

    def of(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    assert of("rerank_requests_total", dialect="tei", status="200") == 1
    assert of("rerank_request_duration_seconds_count", documents="5", cached="none") == 1
    for stage in ("queue", "tokenize", "inference"):
        assert of(f"rerank_{stage}_duration_seconds_count", documents="5") == 1
    assert of("rerank_documents_total", documents="5", cached="none") == 3
    assert of("rerank_tokens_total", documents="5") == 54
    assert of("rerank_batch_duration_seconds_count") == 1
    assert of("rerank_model_busy_seconds_total") == of("rerank_batch_duration_seconds_sum")
    assert of("rerank_batch_fill_ratio_sum") == 54 / 16_384
    assert of("rerank_batch_requests_sum") == 1
    assert of("rerank_batch_tokens_sum") == 54
    assert of("rerank_documents_per_request_sum") == 3
    assert of("rerank_truncated_documents_total") == 1
    assert of("rerank_ignored_fields_total", field="priority") == 1
    assert of("rerank_ignored_fields_total", field="other") == 1


def test_a_refused_request_is_counted_with_its_reason(client: TestClient) -> None:
    client.post("/rerank", content=b"{")
    client.post("/rerank", json=BODY | {"top_n": -1})
    assert value(client, "rerank_requests_total", dialect="none", status="400") == 1
    assert value(client, "rerank_requests_total", dialect="tei", status="422") == 1
    assert value(client, "rerank_rejected_total", reason="invalid") == 2
    labels = {"documents": "1", "cached": "none"}
    assert value(client, "rerank_request_duration_seconds_count", **labels) == 0


def test_the_queue_is_seen_while_it_stands(
    make_client: "MakeClient", gate: Any, fake_ranker: "type[FakeRanker]"
) -> None:
    with make_client(gate.ranker()) as client:
        worker = client.app.state.worker  # type: ignore[attr-defined]
        worker._batcher.submit(fake_ranker().encode("q", ["a b"]))
        assert gate.entered.wait(60)
        worker._batcher.submit(fake_ranker().encode("q", ["a b c"]))
        assert value(client, "rerank_queue_requests") == 1
        assert value(client, "rerank_queue_tokens") == 4
        gate.opened.set()


def test_the_model_is_named(client: TestClient) -> None:
    labels = {"model": "fake", "revision": "", "dtype": "float32", "device": "cpu"}
    labels |= {"attention": "torch", "quantization": "none"}
    assert value(client, "rerank_model_info", **labels) == 1
    assert value(client, "rerank_device_memory_bytes", kind="used") == 3
    assert value(client, "rerank_device_memory_bytes", kind="total") == 10


def test_two_apps_share_no_state(make_client: "MakeClient") -> None:
    with make_client() as first, make_client() as second:
        first.post("/rerank", json=BODY)
        assert value(second, "rerank_requests_total", dialect="tei", status="200") == 0


def test_seconds_are_half_octaves_from_a_millisecond_past_thirty_seconds() -> None:
    assert SECONDS[0] == 0.001
    assert SECONDS[-2] < 30 < SECONDS[-1]
    assert all(b / a == pytest.approx(2**0.5, rel=1e-2) for a, b in itertools.pairwise(SECONDS))
