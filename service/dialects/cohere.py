"""Cohere's dialect, which Jina, vLLM, llama.cpp and LocalAI speak too."""

import time
from typing import Any, ClassVar, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from blockrank_server.service.dialects.base import DOCUMENTS, QUERY, Dialect
from blockrank_server.service.dialects.documents import as_documents
from blockrank_server.service.dialects.fields import Flag, Query, Score, Usage, json_score, usage
from blockrank_server.service.dialects.request import RerankRequest, RerankResult


class CohereDocument(TypedDict):
    """A document sent back. Elasticsearch and vLLM's clients need an object."""

    text: str


class CohereResult(TypedDict):
    """One result. Elasticsearch refuses any other key, and document: null."""

    index: int
    relevance_score: Score
    document: NotRequired[CohereDocument]


class CohereVersion(TypedDict):
    """Version of Cohere's API that is spoken."""

    version: str


class CohereUnits(TypedDict):
    """What Cohere would bill."""

    search_units: int


class CohereTokens(TypedDict):
    """Tokens of the whole prompt."""

    input_tokens: int
    output_tokens: int


class CohereMeta(TypedDict):
    """About the request. Warnings tell what was cut or ignored."""

    api_version: CohereVersion
    billed_units: CohereUnits
    tokens: CohereTokens
    warnings: NotRequired[list[str]]


class CohereAnswer(TypedDict):
    """The order of keys counts: Elasticsearch looks for results before the first nested object."""

    id: str
    results: list[CohereResult]
    meta: CohereMeta
    usage: Usage
    model: str
    object: str
    created: int


class Cohere(Dialect):
    """The dialect of every body that bears the mark of no other."""

    name = "cohere"
    peers = "Cohere, Jina, vLLM, llama.cpp, LocalAI, OpenSearch, Elasticsearch, LangChain, ..."
    mark = "none of the other marks"
    path = "/cohere/v2/rerank"
    aliases: ClassVar[tuple[str, ...]] = ("/cohere/v1/rerank",)
    answer: ClassVar[Any] = CohereAnswer
    example: ClassVar[dict[str, Any]] = {"query": QUERY, "documents": list(DOCUMENTS), "top_n": 1}

    query: Query
    documents: list[Any] = Field(
        description="Strings, or objects: rank_fields, else title and text, else all as YAML."
    )
    return_documents: Flag = False
    rank_fields: list[str] | None = Field(None, description="Fields of object documents to rank.")

    def request(self) -> RerankRequest:
        documents = as_documents(self.documents, "documents", self.rank_fields or ())
        return self.asking(self.query, documents, return_documents=self.return_documents)

    def render(self, result: RerankResult) -> object:
        answer: CohereAnswer = {
            "id": f"rerank-{result.request_id}",
            "results": self.results(result),
            "meta": cohere_meta(result),
            "usage": usage(result),
            "model": result.model,
            "object": "rerank",
            "created": int(time.time()),
        }
        return answer

    def results(self, result: RerankResult) -> list[Any]:
        """The results, each with its document if asked."""
        found: list[dict[str, object]] = [
            {"index": ranked.index, "relevance_score": json_score(ranked)}
            for ranked in result.ranking
        ]
        if self.return_documents:
            for item, ranked in zip(found, result.ranking, strict=True):
                item["document"] = self.document(result.text(ranked.index))
        return found

    def document(self, text: str) -> object:
        """A document sent back."""
        return {"text": text}


def cohere_meta(result: RerankResult) -> CohereMeta:
    """Cohere's meta, which LiteLLM and LangChain4j need."""
    meta: CohereMeta = {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": result.num_units},
        "tokens": {"input_tokens": result.num_tokens, "output_tokens": 0},
    }
    if result.warnings:
        meta["warnings"] = list(result.warnings)
    return meta
