"""Speaks Pinecone's dialect."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, NotRequired

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from blockrank_server.service.dialects.base import DOCUMENTS, QUERY, Dialect
from blockrank_server.service.dialects.documents import as_documents
from blockrank_server.service.dialects.fields import Score, Truncate, json_score
from blockrank_server.service.dialects.request import RerankRequest, RerankResult

VERSION_HEADER = "X-Pinecone-Api-Version"


class PineconeParameters(BaseModel):
    """Heeds one parameter of a model; the others are ignored with a warning."""

    model_config = ConfigDict(extra="allow")

    truncate: Truncate = None


class PineconeResult(TypedDict):
    """Holds one result; the document is as it came, a text as {text}."""

    index: int
    score: Score
    document: NotRequired[dict[str, Any]]


class PineconeUsage(TypedDict):
    """Counts what Pinecone would bill."""

    rerank_units: int


class PineconeAnswer(TypedDict):
    """Lists the results best first."""

    model: str
    data: list[PineconeResult]
    usage: PineconeUsage


class Pinecone(Dialect):
    """Is told from Cohere's dialect by the header X-Pinecone-Api-Version alone."""

    name = "pinecone"
    peers = "Pinecone"
    mark = "header `X-Pinecone-Api-Version`"
    path = "/pinecone/rerank"
    return_field = "return_documents"
    answer = PineconeAnswer
    example: ClassVar[dict[str, Any]] = {
        "model": "bge-reranker-v2-m3",
        "query": QUERY,
        "documents": [{"id": str(i), "text": text} for i, text in enumerate(DOCUMENTS)],
        "rank_fields": ["text"],
        "top_n": 2,
        "return_documents": True,
        "parameters": {"truncate": "END"},
    }

    query: str = Field(description="Not empty.")
    documents: list[Any] = Field(description="Objects, or strings.")
    rank_fields: list[str] | None = Field(None, description='["text"] unless given.')
    return_documents: bool | None = Field(True, description="On unless it is false.")
    parameters: PineconeParameters | None = None

    @classmethod
    def matches(cls, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        return VERSION_HEADER in headers

    def request(self) -> RerankRequest:
        documents = as_documents(self.documents, "documents", self.rank_fields or ("text",))
        is_returned = self.return_documents is not False
        is_cut = self.parameters is None or self.parameters.truncate != "NONE"
        request = self.asking(
            self.query, documents, return_documents=is_returned, warnings=self._ignored(is_cut)
        )
        return replace(request, truncate=request.truncate and is_cut)

    def _ignored(self, is_cut: bool) -> Iterator[str]:
        if self.parameters is not None and self.parameters.model_extra:
            yield "parameters other than truncate are ignored: they have no effect here"
        if not is_cut and {self.truncate, self.truncation} & {"END", "START"}:
            yield "truncate is ignored: parameters.truncate says that nothing may be cut"

    def render(self, result: RerankResult) -> object:
        data: list[PineconeResult] = []
        for ranked in result.ranking:
            data.append({"index": ranked.index, "score": json_score(ranked)})
            if result.request.return_documents:
                given = self.documents[ranked.index]
                data[-1]["document"] = {"text": given} if isinstance(given, str) else given
        answer: PineconeAnswer = {
            "model": result.model,
            "data": data,
            "usage": {"rerank_units": result.num_units},
        }
        return answer
