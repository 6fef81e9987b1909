"""Speaks Infinity's dialect: Cohere's, with documents that come back as strings."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NotRequired

from typing_extensions import TypedDict

from blockrank_server.models.prompt.request import Document
from blockrank_server.service.dialects.base import DOCUMENTS, QUERY
from blockrank_server.service.dialects.cohere import Cohere, CohereMeta
from blockrank_server.service.dialects.explained import (
    BestChunk,
    ExplainedDocument,
    ReasonedDocument,
)
from blockrank_server.service.dialects.fields import Score, Usage


class InfinityResult(TypedDict):
    """Holds one result. LiteLLM's infinity client needs a string."""

    index: int
    relevance_score: Score
    document: NotRequired[str]
    chunk: NotRequired[BestChunk]
    explanation: NotRequired[ExplainedDocument]
    reasoning: NotRequired[ReasonedDocument]


class InfinityAnswer(TypedDict):
    """Holds Infinity's keys, and meta."""

    id: str
    results: list[InfinityResult]
    meta: CohereMeta
    usage: Usage
    model: str
    object: str
    created: int


class Infinity(Cohere):
    """Speaks Cohere's dialect as Infinity writes it: infinity_client always sends raw_scores."""

    name = "infinity"
    peers = "Infinity, infinity_client, LangChain's InfinityRerank"
    mark = "`raw_scores` with `documents`"
    path = "/infinity/rerank"
    aliases = ()
    answer = InfinityAnswer
    example: ClassVar[dict[str, Any]] = {
        "query": QUERY,
        "documents": list(DOCUMENTS),
        "return_documents": True,
        "raw_scores": False,
        "model": "default/not-specified",
    }

    @classmethod
    def matches(cls, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        return "raw_scores" in body and "documents" in body

    def document(self, index: int, ranked: str) -> object:
        """Send a document back as a string; there is no room for more."""
        return ranked

    def losses(self, ranked: Iterable[Document]) -> Iterator[str]:
        """Yield a sentence if a document does not come back as it was sent."""
        if any(isinstance(given, dict) and given.keys() != {"text"} for given in self.documents):
            yield "of an object only the text that was ranked comes back in this dialect"
