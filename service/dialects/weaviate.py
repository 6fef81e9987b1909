"""Shape C: Weaviate's reranker-transformers."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import TypedDict

from blockrank_server.service.dialects.base import DOCUMENTS, QUERY, Shape
from blockrank_server.service.dialects.fields import Score, number
from blockrank_server.service.dialects.request import RerankRequest, RerankResult


class WeaviateScore(TypedDict):
    """One document and its score."""

    document: str
    score: Score


class WeaviateAnswer(TypedDict):
    """In the order of the request: Weaviate reads scores by their place, one per document."""

    query: str
    scores: list[WeaviateScore]
    property: None
    score: None


class Weaviate(Shape):
    """Weaviate always sends property, never a model, and no Content-Type."""

    name = "c"
    peers = "Weaviate's reranker-transformers"
    mark = "`property` without `model`"
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
        """See Shape.matches."""
        return "property" in body and "model" not in body

    def request(self) -> RerankRequest:
        """See Shape.request."""
        return self.asking(self.query, self.documents)

    def render(self, result: RerankResult) -> object:
        """See Shape.render."""
        answer: WeaviateAnswer = {
            "query": self.query,
            "scores": [
                {"document": self.documents[ranked.index], "score": number(ranked)}
                for ranked in result.by_index()
            ],
            "property": None,
            "score": None,
        }
        return answer
