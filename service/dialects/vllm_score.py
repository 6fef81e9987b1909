"""Speaks the dialect of vLLM's score API."""

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import AliasChoices, Field
from typing_extensions import TypedDict

from blockrank_server.models.errors import EmptyInputError, InputError
from blockrank_server.service.dialects.base import DOCUMENTS, QUERY, Dialect
from blockrank_server.service.dialects.fields import (
    Score,
    TokenDetails,
    json_score,
    token_details,
)
from blockrank_server.service.dialects.request import RerankRequest, RerankResult

_QUERIES = ("text_1", "queries", "data_1")
_DOCUMENTS = ("text_2", "documents", "items", "data_2")


class VllmScoreItem(TypedDict):
    """Holds one document's score."""

    index: int
    object: str
    score: Score


class VllmScoreUsage(TypedDict):
    """Counts the tokens of the whole prompt."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int
    prompt_tokens_details: TokenDetails | None


class VllmScoreAnswer(TypedDict):
    """Holds one score per document, in the order of the request."""

    id: str
    object: str
    created: int
    model: str
    data: list[VllmScoreItem]
    usage: VllmScoreUsage


class VllmScore(Dialect):
    """Takes one query and its documents; the list decides the scores, unlike a cross-encoder's."""

    name = "vllm_score"
    peers = "vLLM's score API"
    mark = "`text_1`, `queries` or `data_1`"
    path = "/v1/score"
    aliases = ("/score",)
    query_fields = _QUERIES
    documents_fields = _DOCUMENTS
    is_complete = True
    answer = VllmScoreAnswer
    example: ClassVar[dict[str, Any]] = {"text_1": QUERY, "text_2": list(DOCUMENTS)}

    text_1: str | list[str] = Field(
        validation_alias=AliasChoices(*_QUERIES),
        description="The query; several must be equal. Fields queries and data_1 mean the same.",
    )
    text_2: str | list[str] = Field(
        validation_alias=AliasChoices(*_DOCUMENTS),
        description="The documents; the fields documents, items and data_2 mean the same.",
    )

    @classmethod
    def matches(cls, body: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        return any(name in body for name in _QUERIES)

    def request(self) -> RerankRequest:
        queries = {self.text_1} if isinstance(self.text_1, str) else set(self.text_1)
        if not queries:
            raise EmptyInputError("query is empty", field="query")
        if len(queries) > 1:
            count = len(queries)
            raise InputError(
                f"query holds {count} different texts; a request ranks for one", field="query"
            )
        documents = [self.text_2] if isinstance(self.text_2, str) else self.text_2
        return self.asking(queries.pop(), documents)

    def render(self, result: RerankResult) -> object:
        answer: VllmScoreAnswer = {
            "id": f"score-{result.request_id}",
            "object": "list",
            "created": int(time.time()),
            "model": result.model,
            "data": [
                {"index": r.index, "object": "score", "score": json_score(r)}
                for r in result.by_index()
            ],
            "usage": {
                "prompt_tokens": result.num_tokens,
                "total_tokens": result.num_tokens,
                "completion_tokens": 0,
                "prompt_tokens_details": token_details(result),
            },
        }
        return answer
