"""Speaks NVIDIA NIM's dialect."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import TypedDict

from blockrank_server.service.dialects.base import DOCUMENTS, QUERY, Dialect
from blockrank_server.service.dialects.documents import as_documents
from blockrank_server.service.dialects.fields import Query, Score, Usage, json_score, usage
from blockrank_server.service.dialects.request import RerankRequest, RerankResult


class NvidiaRanking(TypedDict):
    """Holds one result. The logit is a score in [0, 1], as in every other dialect."""

    index: int
    logit: Score


class NvidiaAnswer(TypedDict):
    """Lists the results best first."""

    rankings: list[NvidiaRanking]
    usage: Usage


class Nvidia(Dialect):
    """Takes bodies of NIM's clients, which also ask GET /v1/models for the name of a model."""

    name = "nvidia"
    peers = "NVIDIA NIM, LangChain's, LlamaIndex's and Haystack's NVIDIA rerankers"
    mark = "`passages`"
    path = "/v1/ranking"
    aliases = ("/ranking", "/v1/retrieval/{rest:path}/reranking")
    documents_fields = ("passages",)
    answer = NvidiaAnswer
    example: ClassVar[dict[str, Any]] = {
        "model": "nvidia/llama-nemotron-rerank-1b-v2",
        "query": {"text": QUERY},
        "passages": [{"text": text} for text in DOCUMENTS],
        "truncate": "END",
    }

    query: Query
    passages: list[Any] = Field(description="The documents: objects with a text, or strings.")

    @classmethod
    def matches(cls, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        return "passages" in body

    def request(self) -> RerankRequest:
        return self.asking(self.query, as_documents(self.passages, "passages"))

    def render(self, result: RerankResult) -> object:
        answer: NvidiaAnswer = {
            "rankings": [{"index": r.index, "logit": json_score(r)} for r in result.ranking],
            "usage": usage(result),
        }
        return answer
