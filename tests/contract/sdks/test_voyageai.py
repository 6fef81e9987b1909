"""The voyageai package."""

import pytest
import voyageai
from voyageai.error import AuthenticationError, MalformedRequestError, RateLimitError

from contract import DOCUMENTS, QUERY, Contract, Ranking, RetryingContract
from live_server import KEY, LiveServer


def client(url: str, key: str, **options: int) -> voyageai.Client:
    return voyageai.Client(key, base_url=f"{url}/v1", **options)


class TestClient(Contract):
    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        found = client(url, key).rerank(query, documents, model="rerank-2.5")
        return [(result.index, result.relevance_score) for result in found.results]

    def test_errors_have_their_classes(self, server: LiveServer) -> None:
        assert isinstance(self.failure(server.url, "wrong", DOCUMENTS), AuthenticationError)
        assert isinstance(self.failure(server.url, KEY, self.refused[0]), MalformedRequestError)
        with server.overloaded():
            assert isinstance(self.failure(server.url, KEY, DOCUMENTS), RateLimitError)

    def test_what_is_too_long_is_refused_if_it_may_not_be_cut(self, server: LiveServer) -> None:
        texts = ["x " * 51]
        with pytest.raises(MalformedRequestError, match=r"documents\[0\] is longer than 50 tokens"):
            client(server.url, KEY).rerank(QUERY, texts, model="m", truncation=False)
        assert client(server.url, KEY).rerank(QUERY, texts, model="m", truncation=True).results

    def test_top_k(self, server: LiveServer) -> None:
        found = client(server.url, KEY).rerank(QUERY, DOCUMENTS, model="m", top_k=2)
        assert [result.document for result in found.results] == [DOCUMENTS[1], DOCUMENTS[0]]
        assert found.total_tokens > 0


class TestClientWithRetries(RetryingContract):
    tries = 2

    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        found = client(url, key, max_retries=2).rerank(query, documents, model="rerank-2.5")
        return [(result.index, result.relevance_score) for result in found.results]
