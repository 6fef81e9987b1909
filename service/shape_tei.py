"""Shape B: text-embeddings-inference (TEI)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from blockrank_server.service.errors import BackendError, ServiceError
from blockrank_server.service.rerank import RerankRequest, RerankResult
from blockrank_server.service.wire import Count, Flag, TopN, Truncate, WireBody, number, warnings

WARNING_HEADER = "X-Rerank-Warning"


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class TeiBody(WireBody):
    """Body of a rerank request in the shape of text-embeddings-inference."""

    query: str = Field(description="Not empty.")
    texts: list[str] = Field(description="The documents.")
    truncate: Truncate = True
    truncation_direction: Annotated[Literal["right"], BeforeValidator(_lower)] | None = Field(
        None, description="Only the right end is ever cut."
    )
    raw_scores: Flag = Field(False, description="The model's own scores, not in [0, 1].")
    return_text: Flag = False
    top_n: TopN | None = Field(None, description="Not TEI's; Elasticsearch sends it.")
    top_k: TopN | None = Field(None, description="Synonym of top_n.")
    model: str | None = Field(None, description="Any name, unless the server is strict.")
    max_tokens_per_doc: Count | None = Field(None, description="Lowers the server's limit.")
    max_tokens_per_query: Count | None = Field(None, description="Lowers the server's limit.")


class TeiShape:
    """Shape B; a body with both spellings is of shape A, whose clients accept every answer."""

    name: ClassVar[str] = "b"
    inference_failed: ClassVar[type[ServiceError]] = BackendError
    spelling: ClassVar[Mapping[str, str]] = {
        "documents": "texts",
        "max_document_tokens": "max_tokens_per_doc",
        "max_query_tokens": "max_tokens_per_query",
    }

    def matches(self, body: Mapping[str, Any]) -> bool:
        """By its list of texts."""
        return "texts" in body and "documents" not in body

    def parse(self, body: Mapping[str, Any]) -> RerankRequest:
        """See Shape.parse."""
        wire = TeiBody.read(body)
        return RerankRequest(
            query=wire.query,
            documents=tuple(wire.texts),
            top_n=(wire.top_n if wire.top_n is not None else wire.top_k) or None,
            return_documents=wire.return_text,
            raw_scores=wire.raw_scores,
            truncate=wire.truncate,
            max_document_tokens=wire.max_tokens_per_doc,
            max_query_tokens=wire.max_tokens_per_query,
            model=wire.model,
            ignored_fields=wire.ignored(),
        )

    def render(self, result: RerankResult) -> object:
        """See Shape.render."""
        return [
            {"index": ranked.index}
            | ({"text": result.texts[ranked.index]} if result.texts else {})
            | {"score": number(ranked)}
            for ranked in result.ranking
        ]

    def headers(self, result: RerankResult) -> dict[str, str]:
        """What was cut: a bare list has no room for it."""
        found = warnings(result, "texts")
        return {WARNING_HEADER: "; ".join(found)} if found else {}
