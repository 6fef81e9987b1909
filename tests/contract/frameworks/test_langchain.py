"""LangChain's document compressors: Cohere, Jina, NVIDIA. InfinityRerank is beside its package."""

from typing import Any

import pytest
from langchain_cohere import CohereRerank
from langchain_community.document_compressors import JinaRerank, jina_rerank
from langchain_core.documents import Document
from langchain_nvidia_ai_endpoints import NVIDIARerank

from contract import DOCUMENTS, QUERY, TOO_LONG, Contract, Ranking, RetryingContract
from live_server import KEY, LiveServer


def by_index(found: list[dict[str, Any]]) -> Ranking:
    return [(result["index"], result["relevance_score"]) for result in found]


def by_document(found: Any) -> Ranking:
    return [(each.metadata["index"], each.metadata["relevance_score"]) for each in found]


def numbered(texts: list[str]) -> list[Document]:
    return [Document(text, metadata={"index": i}) for i, text in enumerate(texts)]


class TestCohere(RetryingContract):
    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        compressor = CohereRerank(model="rerank-v3.5", cohere_api_key=key, base_url=url, top_n=None)
        return by_index(compressor.rerank(documents, query))

    def test_documents_of_a_pipeline(self, server: LiveServer) -> None:
        compressor = CohereRerank(model="m", cohere_api_key=KEY, base_url=server.url)
        found = compressor.compress_documents(numbered(DOCUMENTS), QUERY)
        assert [index for index, _ in by_document(found)] == [1, 0, 3]  # its top_n is 3


class TestJina(Contract):
    @pytest.fixture(autouse=True)
    def url_of_its_module(self, server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jina_rerank, "JINA_API_URL", f"{server.url}/v1/rerank")

    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        return by_index(JinaRerank(jina_api_key=key, top_n=None).rerank(documents, query))


class TestNvidia(Contract):
    refused = ([TOO_LONG], "passages[0] is longer than 50 tokens, and truncation is off")

    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        compressor = NVIDIARerank(
            base_url=f"{url}/v1", api_key=key, model="fake", top_n=1000, truncate="NONE"
        )
        return by_document(compressor.compress_documents(numbered(documents), query))

    def test_it_finds_the_model_by_itself(self, server: LiveServer) -> None:
        with pytest.warns(UserWarning, match="Default model is set as: fake"):
            compressor = NVIDIARerank(base_url=f"{server.url}/v1", api_key=KEY)
        assert compressor.model == "fake"

    def test_more_than_its_batch_of_documents_are_sent_in_turn(self, server: LiveServer) -> None:
        before = server.num_requests(200)
        compressor = NVIDIARerank(
            base_url=f"{server.url}/v1", api_key=KEY, model="fake", max_batch_size=3, top_n=9
        )
        found = compressor.compress_documents(numbered(DOCUMENTS * 2), QUERY)
        assert sorted(index for index, _ in by_document(found)) == list(range(8))
        assert server.num_requests(200) == before + 3
