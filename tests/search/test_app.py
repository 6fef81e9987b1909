"""The demo's service over HTTP: tantivy, and a reranker that is not there or is."""

from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from rerank_search.app import create_app
from rerank_search.documents import Document
from rerank_search.reranker import Reranker
from rerank_search.tantivy_backend import TantivyBackend


def client_with(reranker: Reranker, documents: list[Document]) -> TestClient:
    backend = TantivyBackend(reranker)
    backend.replace(documents)
    return TestClient(create_app(backend, num_candidates=3))


@pytest.fixture
def client(reranker: Reranker, documents: list[Document]) -> TestClient:
    return client_with(reranker, documents)


def test_a_search_gives_documents_in_the_rerankers_order(client: TestClient) -> None:
    query = "vaccine system market dough machine"
    found: dict[str, Any] = client.get("/search", params={"q": query}).json()
    assert (found["query"], found["reranked"]) == (query, True)
    lengths = [len(hit["title"] + hit["text"]) for hit in found["hits"]]
    assert len(lengths) == 3
    assert lengths == sorted(lengths)
    assert set(found["hits"][0]) == {"doc_id", "title", "text", "score"}


def test_a_search_can_do_without_reranking(documents: list[Document]) -> None:
    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    http = httpx.Client(base_url="http://there", transport=httpx.MockTransport(never))
    client = client_with(Reranker(http, timeout_s=5), documents)
    found = client.get("/search", params={"q": "vaccine dough", "rerank": "false"}).json()
    assert found["reranked"] is False
    assert len(found["hits"]) == 3


def test_a_request_says_how_many_are_reranked_and_returned(client: TestClient) -> None:
    query = {"q": "vaccine system market dough machine"}
    assert len(client.get("/search", params=query | {"candidates": 5}).json()["hits"]) == 5
    assert len(client.get("/search", params=query | {"num_hits": 2}).json()["hits"]) == 2


def test_a_reranker_that_refuses_is_a_503_that_says_when_to_come_back(
    documents: list[Document],
) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"Retry-After": "9"})

    http = httpx.Client(base_url="http://there", transport=httpx.MockTransport(refuse))
    answer = client_with(Reranker(http, timeout_s=5), documents).get("/search?q=vaccine")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "9"
    assert answer.json() == {"message": "the reranker answered 429"}


@pytest.mark.parametrize("query", ["", "q=", "q=x&num_hits=0", "q=x&candidates=1001"])
def test_a_search_that_makes_no_sense_is_refused(client: TestClient, query: str) -> None:
    assert client.get(f"/search?{query}").status_code == 422


def test_health_is_there_for_the_container(client: TestClient) -> None:
    assert client.get("/health").status_code == 200
