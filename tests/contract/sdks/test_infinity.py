"""The infinity_client package, and LangChain's InfinityRerank on top of it."""

from typing import Any, ClassVar

from infinity_client import AuthenticatedClient, Client
from infinity_client.api.default import rerank
from infinity_client.models import RerankInput
from langchain_community.document_compressors import InfinityRerank

from contract import DOCUMENTS, QUERY, Contract, Ranking
from live_server import KEY, LiveServer


class TestInfinityClient(Contract):
    # It takes the detail of a 422 for a list.
    hides: ClassVar[dict[int, type[Exception]]] = {422: AttributeError}

    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        client = AuthenticatedClient(url, key, raise_on_unexpected_status=True)
        found: Any = rerank.sync(client=client, body=RerankInput(query=query, documents=documents))
        return [(result.index, result.relevance_score) for result in found.results]

    def test_documents_come_back_as_texts(self, server: LiveServer) -> None:
        body = RerankInput(query=QUERY, documents=DOCUMENTS, return_documents=True, top_n=1)
        found: Any = rerank.sync(client=AuthenticatedClient(server.url, KEY), body=body)
        assert [result.document for result in found.results] == [DOCUMENTS[1]]
        assert found.usage.total_tokens > 0


class TestLangChain(Contract):
    hides = TestInfinityClient.hides

    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        headers = {"Authorization": f"Bearer {key}"}  # it refuses an AuthenticatedClient
        client = Client(url, headers=headers, raise_on_unexpected_status=True)
        reranker = InfinityRerank(client=client, top_n=len(documents))
        found = reranker.rerank(documents, query)
        return [(result["index"], result["relevance_score"]) for result in found]
