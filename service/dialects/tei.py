"""Shape B: text-embeddings-inference (TEI)."""

from collections.abc import Mapping
from typing import Any, ClassVar, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from blockrank_server.service.dialects.base import DOCUMENTS, QUERY, Shape
from blockrank_server.service.dialects.fields import Flag, Score, number
from blockrank_server.service.dialects.request import RerankRequest, RerankResult
from blockrank_server.service.errors import BackendError


class TeiRank(TypedDict):
    """One result. Elasticsearch refuses any other key."""

    index: int
    text: NotRequired[str]
    score: Score


class Tei(Shape):
    """A body with both texts and documents is of shape A, whose clients accept every answer."""

    name = "b"
    peers = "text-embeddings-inference, Elasticsearch hugging_face, Milvus"
    mark = "`texts` without `documents`"
    documents_fields = ("texts",)
    inference_failed = BackendError
    answer = list[TeiRank]
    example: ClassVar[dict[str, Any]] = {"query": QUERY, "texts": list(DOCUMENTS)}

    query: str = Field(description="Not empty.")
    texts: list[str] = Field(description="The documents.")
    return_text: Flag = False

    @classmethod
    def matches(cls, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        """See Shape.matches."""
        return "texts" in body and "documents" not in body

    def request(self) -> RerankRequest:
        """See Shape.request."""
        return self.asking(self.query, self.texts, return_documents=self.return_text)

    def render(self, result: RerankResult) -> object:
        """See Shape.render."""
        answer: list[TeiRank] = []
        for ranked in result.ranking:
            if self.return_text:
                text = self.texts[ranked.index]
                answer.append({"index": ranked.index, "text": text, "score": number(ranked)})
            else:
                answer.append({"index": ranked.index, "score": number(ranked)})
        return answer
