"""What a caller and an operator see of documents that are kept."""

from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from blockrank_server.models.document_cache.document_cache import DocumentCache
from deploy_kit.keeping_ranker import keeping_ranker

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker, MakeClient

BODY = {"query": "a b", "documents": ["a", "b c", "d"]}


@pytest.fixture
def keeping(fake_ranker: "type[FakeRanker]") -> "FakeRanker":
    """A ranker that knows each document from its second request on."""

    found: FakeRanker = keeping_ranker(fake_ranker, DocumentCache(100, 10))()
    return found


@pytest.fixture
def client(keeping: "FakeRanker", make_client: "MakeClient") -> Any:
    with make_client(keeping, document_cache_bytes=1000) as client:
        client.post("/rerank", json=BODY | {"documents": ["a", "b c"]})
        yield client


def test_a_header_counts_the_documents_that_were_known(client: TestClient) -> None:
    assert client.post("/rerank", json=BODY).headers["X-Cached-Documents"] == "2/3"
    assert client.post("/rerank", json=BODY).headers["X-Cached-Documents"] == "3/3"


def test_usage_counts_their_tokens(client: TestClient) -> None:
    answer = client.post("/rerank", json=BODY).json()
    assert answer["usage"] == {
        "prompt_tokens": 6,
        "total_tokens": 6,
        "prompt_tokens_details": {"cached_tokens": 3},
    }
    assert answer["meta"]["cached_tokens"] == 3


def test_vllms_details_do_too(client: TestClient) -> None:
    body = {"text_1": "a b", "text_2": ["a", "e"]}
    usage = client.post("/score", json=body).json()["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 1}


def test_metrics_and_info_tell_what_is_held(client: TestClient) -> None:
    client.post("/rerank", json=BODY)
    text = client.get("/metrics").text
    for name, value in (
        ("hits_total", 2),
        ("misses_total", 3),
        ("evictions_total", 0),
        ("entries", 3),
        ("bytes", 30),
        ("max_bytes", 1000),
    ):
        assert f"\nrerank_document_cache_{name} {value}.0\n" in text
    assert client.get("/info").json()["document_cache"] == {
        "hits": 2,
        "misses": 3,
        "evictions": 0,
        "num_entries": 3,
        "used_bytes": 30,
        "max_bytes": 1000,
    }


def test_latency_is_told_apart_by_what_was_known(client: TestClient) -> None:
    for documents in (["a", "e"], ["a", "e"], ["b c", " ", "a"], ["a"]):
        client.post("/rerank", json=BODY | {"documents": documents})
    text = client.get("/metrics").text
    for bucket, cached, num_requests, num_documents in (
        (2, "none", 1, 2),  # the client's own
        (2, "some", 1, 2),
        (2, "all", 1, 4),  # the blank one is no document of the model's
        (5, "all", 1, 0),
        (1, "all", 1, 1),
        (1, "none", 0, 0),
        (1, "some", 0, 0),
    ):
        labels = f'{{cached="{cached}",documents="{bucket}"}}'
        assert f"\nrerank_request_duration_seconds_count{labels} {num_requests}.0\n" in text
        assert f"\nrerank_documents_total{labels} {num_documents}.0\n" in text


def test_what_cannot_be_known_makes_no_series(make_client: "MakeClient") -> None:
    with make_client() as client:
        client.post("/rerank", json=BODY)
        text = client.get("/metrics").text
    assert 'cached="none"' in text
    assert 'cached="some"' not in text
    assert 'cached="all"' not in text


def test_nothing_is_said_where_nothing_is_kept(make_client: "MakeClient") -> None:
    with make_client() as client:
        answer = client.post("/rerank", json=BODY)
    assert "X-Cached-Documents" not in answer.headers
    assert "cached" not in answer.text
