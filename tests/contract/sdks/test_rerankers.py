"""The rerankers package: every provider of its APIRanker that has a dialect here.

It does not look at the status, so an error ends in the lookup of a key, without our message.
"""

from typing import ClassVar

from rerankers.models.api_rankers import APIRanker

from contract import Contract, Ranking


class RerankersContract(Contract):
    provider: ClassVar[str]
    path: ClassVar[str]
    hides = dict.fromkeys((401, 422, 429), KeyError)

    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        ranker = APIRanker("m", key, self.provider, url=url + self.path)
        found = ranker.rank(query, documents, doc_ids=list(range(len(documents))))
        return [(result.doc_id, result.score) for result in found.results]


class TestCohere(RerankersContract):
    provider, path = "cohere", "/v1/rerank"


class TestJina(RerankersContract):
    provider, path = "jina", "/v1/rerank"


class TestVoyage(RerankersContract):
    provider, path = "voyage", "/v1/rerank"


class TestMixedbread(RerankersContract):
    provider, path = "mixedbread.ai", "/v1/reranking"


class TestPinecone(RerankersContract):
    provider, path = "pinecone", "/rerank"


class TestTei(RerankersContract):
    provider, path = "text-embeddings-inference", "/rerank"
    hides = dict.fromkeys((401, 422, 429), TypeError)
