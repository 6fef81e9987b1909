"""LlamaIndex's postprocessors: Cohere, Jina, mixedbread, NVIDIA, TEI."""

import httpx
import pytest
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.mixedbreadai_rerank import MixedbreadAIRerank
from llama_index.postprocessor.nvidia_rerank import NVIDIARerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

from contract import TOO_LONG, Contract, Ranking, RetryingContract
from live_server import LiveServer


def ranking(reranker: BaseNodePostprocessor, query: str, documents: list[str]) -> Ranking:
    nodes = [
        NodeWithScore(node=TextNode(text=text, id_=str(i))) for i, text in enumerate(documents)
    ]
    found = reranker.postprocess_nodes(nodes, query_str=query)
    return [(int(each.node.node_id), each.score or 0.0) for each in found]


class TestCohere(RetryingContract):
    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        reranker = CohereRerank(top_n=len(documents), api_key=key, base_url=url)
        return ranking(reranker, query, documents)


class TestJina(Contract):
    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        reranker = JinaRerank(top_n=len(documents), api_key=key, base_url=f"{url}/v1")
        return ranking(reranker, query, documents)


class TestMixedbread(RetryingContract):
    @pytest.fixture(autouse=True)
    def address(self, server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """It has no argument for it, but the package below reads it from the environment."""
        monkeypatch.setenv("MIXEDBREAD_BASE_URL", server.url)

    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        reranker = MixedbreadAIRerank(top_n=len(documents), api_key=key)
        return ranking(reranker, query, documents)


class TestNvidia(Contract):
    refused = ([TOO_LONG], "passages[0] is longer than 50 tokens, and truncation is off")

    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        reranker = NVIDIARerank(
            model="fake", api_key=key, base_url=f"{url}/v1", top_n=1000, truncate="NONE"
        )
        return ranking(reranker, query, documents)

    def shown(self, error: Exception) -> str:
        """Its text is httpx's; ours is in the response it holds."""
        assert isinstance(error, httpx.HTTPStatusError)
        return str(error.response.json()["detail"])


class TestTei(Contract):
    # It asserts as many results as nodes, whatever came.
    hides = dict.fromkeys((401, 422, 429), AssertionError)

    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        reranker = TextEmbeddingInference(top_n=len(documents), base_url=url, auth_token=key)
        return ranking(reranker, query, documents)
