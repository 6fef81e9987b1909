"""Shape A: Cohere, Jina, vLLM, llama.cpp, LocalAI."""

import math
import time
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from blockrank_server.service.documents import as_document
from blockrank_server.service.errors import InferenceError, ServiceError
from blockrank_server.service.rerank import RerankRequest, RerankResult
from blockrank_server.service.wire import Count, Flag, TopN, Truncate, WireBody, number, warnings

# Cohere bills a query with up to this many documents as one unit; LangChain4j reads the number.
_DOCUMENTS_PER_UNIT = 100


def _query_text(value: object) -> object:
    return value.get("text") if isinstance(value, dict) else value


class CohereBody(WireBody):
    """Body of a rerank request in the shape of Cohere, Jina and vLLM."""

    query: Annotated[str, BeforeValidator(_query_text)] = Field(description="Text, or {text}.")
    documents: list[Any] = Field(
        description="Strings, or objects: rank_fields, else title and text, else all as YAML."
    )
    model: str | None = Field(None, description="Any name, unless the server is strict.")
    top_n: TopN | None = None
    top_k: TopN | None = Field(None, description="Synonym of top_n.")
    return_documents: Flag = False
    rank_fields: list[str] | None = Field(None, description="Fields of object documents to rank.")
    max_tokens_per_doc: Count | None = Field(None, description="Lowers the server's limit.")
    max_tokens_per_query: Count | None = Field(None, description="Lowers the server's limit.")
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = Field(
        None, description="A cap per document; the query is never cut by it. -1 is no cap."
    )
    truncate: Truncate = True
    raw_scores: Flag = Field(False, description="The model's own scores, not in [0, 1].")
    use_activation: bool | None = Field(None, description="false is raw_scores = true.")


class CohereShape:
    """Shape A; the shape of every body that is of no other."""

    name: ClassVar[str] = "a"
    inference_failed: ClassVar[type[ServiceError]] = InferenceError
    spelling: ClassVar[Mapping[str, str]] = {
        "max_document_tokens": "max_tokens_per_doc",
        "max_query_tokens": "max_tokens_per_query",
    }

    def matches(self, body: Mapping[str, Any]) -> bool:
        """Always."""
        return True

    def parse(self, body: Mapping[str, Any]) -> RerankRequest:
        """See Shape.parse."""
        wire = CohereBody.read(body)
        fields = wire.rank_fields or ()
        per_prompt = wire.truncate_prompt_tokens or -1
        return RerankRequest(
            query=wire.query,
            documents=tuple(
                as_document(d, f"documents[{i}]", fields) for i, d in enumerate(wire.documents)
            ),
            top_n=(wire.top_n if wire.top_n is not None else wire.top_k) or None,
            return_documents=wire.return_documents,
            raw_scores=wire.raw_scores or wire.use_activation is False,
            truncate=wire.truncate,
            max_document_tokens=wire.max_tokens_per_doc or (per_prompt if per_prompt > 0 else None),
            max_query_tokens=wire.max_tokens_per_query,
            model=wire.model,
            ignored_fields=wire.ignored(),
        )

    def render(self, result: RerankResult) -> object:
        """See Shape.render. The order of keys matters: Elasticsearch scans for results."""
        tokens = result.num_tokens
        results = [
            {"index": ranked.index, "relevance_score": number(ranked)}
            | ({"document": {"text": result.texts[ranked.index]}} if result.texts else {})
            for ranked in result.ranking
        ]
        meta: dict[str, object] = {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": math.ceil(result.num_documents / _DOCUMENTS_PER_UNIT)},
            "tokens": {"input_tokens": tokens, "output_tokens": 0},
        }
        if found := warnings(result, "documents"):
            meta["warnings"] = found
        return {
            "id": f"rerank-{uuid.uuid4().hex}",
            "results": results,
            "meta": meta,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "model": result.model,
            "object": "rerank",
            "created": int(time.time()),
        }

    def headers(self, result: RerankResult) -> dict[str, str]:
        """None: the body says it all."""
        return {}
