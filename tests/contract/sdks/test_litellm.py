"""LiteLLM's rerank, by every provider that has a dialect here."""

from typing import Any, ClassVar

import litellm

from contract import DOCUMENTS, QUERY, Contract, Ranking
from live_server import KEY, LiveServer


def ask(model: str, base: str, key: str, query: str, documents: list[str], **more: Any) -> Any:
    return litellm.rerank(
        model=model, api_base=base, api_key=key, query=query, documents=documents, **more
    )


class LiteLlmContract(Contract):
    model: ClassVar[str]
    path: ClassVar[str] = ""

    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        found = ask(self.model, url + self.path, key, query, documents, top_n=len(documents))
        return [(result["index"], result["relevance_score"]) for result in found.results]

    def test_documents_come_back_as_objects(self, server: LiveServer) -> None:
        base = server.url + self.path
        found = ask(self.model, base, KEY, QUERY, DOCUMENTS, top_n=1, return_documents=True)
        assert [result["document"] for result in found.results] == [{"text": DOCUMENTS[1]}]


class TestCohere(LiteLlmContract):
    model = "cohere/rerank-v3.5"


class TestJina(LiteLlmContract):
    model = "jina_ai/jina-reranker-v2-base-multilingual"


class TestHostedVllm(LiteLlmContract):
    model = "hosted_vllm/m"


class TestInfinity(LiteLlmContract):
    model, path = "infinity/m", "/infinity"


class TestVoyage(LiteLlmContract):
    model = "voyage/rerank-2.5"


class TestHuggingFace(LiteLlmContract):
    model = "huggingface/m"


class TestNvidiaNim(LiteLlmContract):
    model = "nvidia_nim/ranking/m"


class TestNvidiaNimRetrieval(LiteLlmContract):
    model = "nvidia_nim/nvidia/m"
