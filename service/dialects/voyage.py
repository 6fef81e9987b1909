"""Speaks Voyage's dialect."""

from collections.abc import Mapping
from typing import Any, ClassVar, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from blockrank_server.service.dialects.base import DOCUMENTS, QUERY, Dialect
from blockrank_server.service.dialects.fields import Flag, Score, json_score
from blockrank_server.service.dialects.request import RerankRequest, RerankResult


class VoyageResult(TypedDict):
    """Holds one result."""

    relevance_score: Score
    index: int
    document: NotRequired[str]


class VoyageUsage(TypedDict):
    """Counts the tokens of the whole prompt."""

    total_tokens: int


class VoyageAnswer(TypedDict):
    """Lists the results best first."""

    object: str
    data: list[VoyageResult]
    model: str
    usage: VoyageUsage


class Voyage(Dialect):
    """Takes bodies of the voyageai package, which always sends top_k and truncation."""

    name = "voyage"
    peers = "Voyage, LiteLLM, LangChain4j, Dify"
    mark = "`top_k`, or `truncation` without `top_n`"
    path = "/voyage/v1/rerank"
    return_field = "return_documents"
    answer = VoyageAnswer
    example: ClassVar[dict[str, Any]] = {
        "query": QUERY,
        "documents": list(DOCUMENTS),
        "model": "rerank-2.5",
        "top_k": None,
        "truncation": True,
    }

    query: str = Field(description="Not empty.")
    documents: list[str]
    return_documents: Flag = False

    @classmethod
    def matches(cls, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        return "top_k" in body or ("truncation" in body and "top_n" not in body)

    def request(self) -> RerankRequest:
        return self.asking(self.query, self.documents, return_documents=self.return_documents)

    def render(self, result: RerankResult) -> object:
        data: list[VoyageResult] = []
        for ranked in result.ranking:
            data.append({"relevance_score": json_score(ranked), "index": ranked.index})
            if self.return_documents:
                data[-1]["document"] = self.documents[ranked.index]
        answer: VoyageAnswer = {
            "object": "list",
            "data": data,
            "model": result.model,
            "usage": {"total_tokens": result.num_tokens},
        }
        return answer
