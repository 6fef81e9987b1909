"""Haystack's rankers: Cohere, Jina, NVIDIA, TEI, vLLM."""

from typing import Any

import pytest
from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.cohere import CohereRanker
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
from haystack_integrations.components.rankers.jina import JinaRanker
from haystack_integrations.components.rankers.nvidia import NvidiaRanker
from haystack_integrations.components.rankers.vllm import VLLMRanker

from contract import DOCUMENTS, QUERY, TOO_LONG, Contract, Ranking, RetryingContract
from live_server import KEY, LiveServer


def ranking(ranker: Any, query: str, texts: list[str]) -> Ranking:
    documents = [Document(id=str(i), content=text) for i, text in enumerate(texts)]
    found = ranker.run(query=query, documents=documents)["documents"]
    return [(int(document.id), document.score) for document in found]


class TestCohere(RetryingContract):
    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        ranker = CohereRanker(api_key=Secret.from_token(key), api_base_url=url)
        return ranking(ranker, query, documents)

    def test_it_says_what_is_wrong_with_a_request(self, server: LiveServer) -> None:
        """It sends 1,000 documents at most, so that another limit has to do."""
        ranker = CohereRanker(
            api_key=Secret.from_token(KEY), api_base_url=server.url, max_tokens_per_doc=0
        )
        with pytest.raises(Exception, match="max_tokens_per_doc: Input should be greater than"):
            ranking(ranker, QUERY, DOCUMENTS)


class TestJina(Contract):
    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        ranker = JinaRanker(api_key=Secret.from_token(key), base_url=f"{url}/v1/rerank")
        return ranking(ranker, query, documents)


class TestNvidia(Contract):
    refused = ([TOO_LONG], "passages[0] is longer than 50 tokens, and truncation is off")

    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        ranker = NvidiaRanker(
            "fake", truncate="NONE", api_url=f"{url}/v1", api_key=Secret.from_token(key)
        )
        return ranking(ranker, query, documents)


class TestTei(RetryingContract):
    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        ranker = HuggingFaceTEIRanker(url=url, token=Secret.from_token(key))
        return ranking(ranker, query, documents)


class TestVllm(Contract):
    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        ranker = VLLMRanker(model="m", api_key=Secret.from_token(key), api_base_url=f"{url}/v1")
        return ranking(ranker, query, documents)
