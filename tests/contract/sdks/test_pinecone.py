"""The pinecone package."""

from pinecone import Pinecone

from contract import DOCUMENTS, QUERY, Ranking, RetryingContract
from live_server import KEY, LiveServer


class TestInference(RetryingContract):
    tries = 4

    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        found = Pinecone(api_key=key, host=url).inference.rerank(
            model="bge-reranker-v2-m3", query=query, documents=documents
        )
        return [(result.index, result.score) for result in found.data]

    def test_objects_are_ranked_by_their_fields_and_come_back(self, server: LiveServer) -> None:
        documents = [{"id": str(i), "body": text} for i, text in enumerate(DOCUMENTS)]
        found = Pinecone(api_key=KEY, host=server.url).inference.rerank(
            model="m", query=QUERY, documents=documents, rank_fields=["body"], top_n=1
        )
        [result] = found.data
        assert (result.index, dict(result.document)) == (1, documents[1])
        assert found.usage.rerank_units == 1
