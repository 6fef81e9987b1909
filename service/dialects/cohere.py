"""Speaks Cohere's dialect, which Jina, vLLM, llama.cpp and LocalAI speak too."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from blockrank_server.models.prompt.request import Document
from blockrank_server.service.dialects.base import DOCUMENTS, QUERY, Dialect
from blockrank_server.service.dialects.documents import as_documents
from blockrank_server.service.dialects.explained import (
    BestChunk,
    ExplainedDocument,
    ReasonedDocument,
    best_chunk,
    explained,
    reasoned,
)
from blockrank_server.service.dialects.fields import (
    Explain,
    Flag,
    Query,
    Score,
    Stream,
    Usage,
    json_score,
    usage,
)
from blockrank_server.service.dialects.request import RerankRequest, RerankResult, text_of
from blockrank_server.service.errors import InvalidFieldError


class CohereDocument(TypedDict):
    """Sends a document back with all that was sent. Some clients need an object, and its text."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    text: str


class CohereResult(TypedDict):
    """Holds one result. Elasticsearch refuses any other key, and document: null."""

    index: int
    relevance_score: Score
    document: NotRequired[CohereDocument]
    chunk: NotRequired[BestChunk]
    explanation: NotRequired[ExplainedDocument]
    reasoning: NotRequired[ReasonedDocument]


class CohereVersion(TypedDict):
    """Names the version of Cohere's API that is spoken."""

    version: str


class CohereUnits(TypedDict):
    """Counts what Cohere would bill."""

    search_units: int


class CohereTokens(TypedDict):
    """Counts the tokens of the whole prompt."""

    input_tokens: int
    output_tokens: int


class CohereMeta(TypedDict):
    """Tells about the request. Warnings tell what was cut or ignored.

    Where scores are calibrated, any_relevant says whether the best of them is one that nine in ten
    lists with an answer reach.
    """

    api_version: CohereVersion
    billed_units: CohereUnits
    tokens: CohereTokens
    cached_tokens: NotRequired[int]
    any_relevant: NotRequired[bool]
    warnings: NotRequired[list[str]]


class CohereAnswer(TypedDict):
    """Keeps its keys in order: Elasticsearch looks for results before the first nested object."""

    id: str
    results: list[CohereResult]
    meta: CohereMeta
    usage: Usage
    model: str
    object: str
    created: int


class Cohere(Dialect):
    """Takes every body that bears the mark of no other dialect."""

    name = "cohere"
    peers = "Cohere, Jina, vLLM, llama.cpp, LocalAI, OpenSearch, Elasticsearch, LangChain, ..."
    mark = "none of the other marks"
    path = "/cohere/v2/rerank"
    aliases: ClassVar[tuple[str, ...]] = ("/cohere/v1/rerank",)
    return_field = "return_documents"
    answer: ClassVar[Any] = CohereAnswer
    example: ClassVar[dict[str, Any]] = {"query": QUERY, "documents": list(DOCUMENTS), "top_n": 1}

    query: Query
    documents: list[Any] = Field(
        description="Strings, or objects: rank_fields, else title and text, else all as YAML."
    )
    return_documents: Flag = False
    rank_fields: list[str] | None = Field(None, description="Fields of object documents to rank.")
    explain: Explain = False
    stream: Stream = False

    def request(self) -> RerankRequest:
        documents = as_documents(self.documents, "documents", self.rank_fields or ())
        warnings = self.losses(documents) if self.return_documents else ()
        request = self.asking(
            self.query, documents, return_documents=self.return_documents, warnings=warnings
        )
        if self.stream and self.fallback is not None:
            raise InvalidFieldError(
                "fallback does not go with stream: an error is an event there", field="fallback"
            )
        return replace(request, explain=self.explain, stream=self.stream)

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
        """Return the results, each with its document and with what explains it, if asked."""
        found: list[dict[str, object]] = [
            {"index": ranked.index, "relevance_score": json_score(ranked)}
            for ranked in result.ranking
        ]
        if self.return_documents:
            for item, ranked in zip(found, result.ranking, strict=True):
                item["document"] = self.document(ranked.index, result.text(ranked.index))
        for item, ranked in zip(found, result.ranking, strict=True):
            if (span := result.chunks.get(ranked.index)) is not None:
                item["chunk"] = best_chunk(span)
            if (explanation := result.explanations.get(ranked.index)) is not None:
                item["explanation"] = explained(explanation)
            if (chain := result.reasoned.get(ranked.index)) is not None:
                item["reasoning"] = reasoned(chain)
        return found

    def document(self, index: int, ranked: str) -> object:
        """Send a document back.

        Args:
            ranked: its text as it was ranked. Cohere's clients take it for the document's text.
        """
        given = self.documents[index]
        if isinstance(given, str):
            return {"text": given}
        return given if self._has_own_text(given) else given | {"text": ranked}

    def losses(self, ranked: Iterable[Document]) -> Iterator[str]:
        """Yield a sentence if a document does not come back as it was sent."""
        if any(
            isinstance(given, dict)
            and given.get("text") not in (None, text_of(document))
            and not self._has_own_text(given)
            for given, document in zip(self.documents, ranked, strict=True)
        ):
            yield "the text of a document comes back as rank_fields chose it, not as it was sent"

    def _has_own_text(self, given: dict[str, Any]) -> bool:
        is_ranked = not self.rank_fields or "text" in self.rank_fields
        return is_ranked and isinstance(given.get("text"), str)


def cohere_meta(result: RerankResult) -> CohereMeta:
    """Return Cohere's meta, which LiteLLM and LangChain4j need."""
    meta: CohereMeta = {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": result.num_units},
        "tokens": {
            "input_tokens": result.num_tokens,
            "output_tokens": result.num_generated_tokens,
        },
    }
    if result.cached is not None:
        meta["cached_tokens"] = result.cached.num_tokens
    if result.any_relevant is not None:
        meta["any_relevant"] = result.any_relevant
    if result.warnings:
        meta["warnings"] = list(result.warnings)
    return meta
