"""The cohere package."""

import asyncio
from typing import Any

import cohere
import pytest

from contract import DOCUMENTS, QUERY, Ranking, RetryingContract
from live_server import KEY, LiveServer


def ranking(response: Any) -> Ranking:
    return [(result.index, result.relevance_score) for result in response.results]


class TestClientV2(RetryingContract):
    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        client = cohere.ClientV2(key, base_url=url)
        return ranking(client.rerank(model="rerank-v3.5", query=query, documents=documents))

    def test_a_wrong_key_has_its_class(self, server: LiveServer) -> None:
        assert isinstance(self.failure(server.url, "wrong", DOCUMENTS), cohere.UnauthorizedError)

    def test_overload_has_its_class(self, server: LiveServer) -> None:
        with server.overloaded():
            error = self.failure(server.url, KEY, DOCUMENTS)
        assert isinstance(error, cohere.TooManyRequestsError)


class TestAsyncClientV2(RetryingContract):
    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        async def ask() -> Any:
            client = cohere.AsyncClientV2(key, base_url=url)
            return await client.rerank(model="rerank-v3.5", query=query, documents=documents)

        return ranking(asyncio.run(ask()))


class TestClient(RetryingContract):
    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        return ranking(cohere.Client(key, base_url=url).rerank(query=query, documents=documents))

    def test_objects_are_ranked_by_their_fields_and_come_back(self, server: LiveServer) -> None:
        documents = [{"title": text, "text": "x"} for text in DOCUMENTS]
        found = cohere.Client(KEY, base_url=server.url).rerank(
            query=QUERY, documents=documents, rank_fields=["title"], return_documents=True, top_n=1
        )
        [result] = found.results
        assert (result.index, result.document.text) == (1, DOCUMENTS[1])
        assert found.meta.billed_units.search_units == 1


@pytest.mark.parametrize("limit", [None, 1])
def test_a_limit_of_tokens_is_warned_of(server: LiveServer, limit: int | None) -> None:
    client = cohere.ClientV2(KEY, base_url=server.url)
    found = client.rerank(model="m", query="Paris", documents=["a Paris"], max_tokens_per_doc=limit)
    cut = None if limit is None else ["1 of 1 documents truncated: 0"]
    assert found.meta.warnings == cut
