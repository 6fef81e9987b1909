"""Speaks the dialect of Weaviate's reranker-transformers."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import TypedDict

from blockrank_server.service.dialects.base import DOCUMENTS, QUERY, Dialect
from blockrank_server.service.dialects.fields import Score, json_score
from blockrank_server.service.dialects.request import RerankRequest, RerankResult


class WeaviateScore(TypedDict):
    """Holds one document and its score."""

    document: str
    score: Score


class WeaviateAnswer(TypedDict):
    """Holds one score per document in the request's order: Weaviate reads them by their place."""

    query: str
    scores: list[WeaviateScore]
    property: None
    score: None


class Weaviate(Dialect):
    """Takes Weaviate's bodies, which always have property, never a model, and no Content-Type."""

    name = "weaviate"
    peers = "Weaviate's reranker-transformers"
    mark = "`property` without `model`"
    path = "/weaviate/rerank"
    always_returns = True
    is_complete = True
    answer = WeaviateAnswer
    example: ClassVar[dict[str, Any]] = {
        "query": QUERY,
        "documents": list(DOCUMENTS),
        "property": "",
    }

    query: str = Field(description="Not empty.")
    documents: list[str]
    property_: str | None = Field(None, alias="property", description="Has no effect.")

    @classmethod
    def matches(cls, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        return "property" in body and "model" not in body

    def request(self) -> RerankRequest:
        return self.asking(self.query, self.documents)

    def render(self, result: RerankResult) -> object:
        answer: WeaviateAnswer = {
            "query": self.query,
            "scores": [
                {"document": self.documents[ranked.index], "score": json_score(ranked)}
                for ranked in result.by_index()
            ],
            "property": None,
            "score": None,
        }
        return answer
