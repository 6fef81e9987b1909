"""Speaks the dialect of text-embeddings-inference (TEI)."""

from collections.abc import Mapping
from typing import Any, ClassVar, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from blockrank_server.service.dialects.base import DOCUMENTS, QUERY, Dialect
from blockrank_server.service.dialects.fields import Flag, Score, json_score
from blockrank_server.service.dialects.request import RerankRequest, RerankResult
from blockrank_server.service.errors import BackendError


class TeiRank(TypedDict):
    """Holds one result. Elasticsearch refuses any other key."""

    index: int
    text: NotRequired[str]
    score: Score


class Tei(Dialect):
    """Takes texts. On /rerank a body with documents too is Cohere's: its clients accept either."""

    name = "tei"
    peers = "text-embeddings-inference, Elasticsearch hugging_face, Milvus"
    mark = "`texts` without `documents`"
    path = "/tei/rerank"
    documents_fields = ("texts",)
    return_field = "return_text"
    inference_failed = BackendError
    answer = list[TeiRank]
    example: ClassVar[dict[str, Any]] = {"query": QUERY, "texts": list(DOCUMENTS)}

    query: str = Field(description="Not empty.")
    texts: list[str] = Field(description="The documents.")
    return_text: Flag = False

    @classmethod
    def matches(cls, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        return "texts" in body and "documents" not in body

    def request(self) -> RerankRequest:
        return self.asking(self.query, self.texts, return_documents=self.return_text)

    def render(self, result: RerankResult) -> object:
        answer: list[TeiRank] = []
        for ranked in result.ranking:
            if self.return_text:
                text = self.texts[ranked.index]
                answer.append({"index": ranked.index, "text": text, "score": json_score(ranked)})
            else:
                answer.append({"index": ranked.index, "score": json_score(ranked)})
        return answer
