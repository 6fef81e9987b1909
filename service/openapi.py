"""The documentation of POST /rerank. Made from the body and error classes, so it cannot drift."""

from typing import Any

from blockrank_server.service.errors import all_errors
from blockrank_server.service.shape_cohere import CohereBody
from blockrank_server.service.shape_tei import TeiBody

QUERY = "capital of France"
DOCUMENTS = ("Berlin is the capital of Germany.", "Paris is the capital of France.")

REQUEST_EXAMPLES: dict[str, Any] = {
    "cohere": {
        "summary": "Shape A: Cohere, Jina, vLLM",
        "value": {"query": QUERY, "documents": list(DOCUMENTS), "top_n": 1},
    },
    "cohere-objects": {
        "summary": "Shape A with titles, the documents returned",
        "value": {
            "query": QUERY,
            "documents": [
                {"title": "Berlin", "text": DOCUMENTS[0]},
                {"title": "Paris", "text": DOCUMENTS[1]},
            ],
            "return_documents": True,
        },
    },
    "tei": {
        "summary": "Shape B: text-embeddings-inference",
        "value": {"query": QUERY, "texts": list(DOCUMENTS)},
    },
}

_SCORE = {"type": "number", "format": "double"}
_INDEX = {"type": "integer", "description": "Place in the request's list."}
_COUNT = {"type": "integer"}


def _object(required: list[str], /, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


_COHERE_ITEM = _object(
    ["index", "relevance_score"],
    index=_INDEX,
    relevance_score=_SCORE,
    document=_object(["text"], text={"type": "string"}),
)
_META = _object(
    ["api_version", "billed_units", "tokens"],
    api_version=_object(["version"], version={"type": "string"}),
    billed_units=_object(["search_units"], search_units=_COUNT),
    tokens=_object(["input_tokens", "output_tokens"], input_tokens=_COUNT, output_tokens=_COUNT),
    warnings={"type": "array", "items": {"type": "string"}, "description": "What was cut."},
)
_COHERE_ANSWER = _object(
    ["id", "results", "meta", "usage", "model", "object", "created"],
    id={"type": "string"},
    results={"type": "array", "items": _COHERE_ITEM},
    meta=_META,
    usage=_object(["prompt_tokens", "total_tokens"], prompt_tokens=_COUNT, total_tokens=_COUNT),
    model={"type": "string"},
    object={"type": "string", "const": "rerank"},
    created={"type": "integer", "description": "Seconds since 1970."},
)
_TEI_ITEM = _object(["index", "score"], index=_INDEX, text={"type": "string"}, score=_SCORE)
_ERROR = _object(
    ["error", "error_type", "message", "detail", "object", "type", "param", "code", "request_id"],
    error={"type": "string"},
    error_type={"type": "string"},
    message={"type": "string"},
    detail={"type": "string"},
    object={"type": "string", "const": "error"},
    type={"type": "string"},
    param={"type": ["string", "null"], "description": "The field at fault."},
    code={"type": "integer"},
    request_id={"type": "string"},
    errors={"type": "array", "items": {"type": "object"}},
)


def _content(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema, **more}}


def rerank_request() -> dict[str, Any]:
    """openapi_extra of the route: its body, which the handler parses itself."""
    schema = {"oneOf": [CohereBody.model_json_schema(), TeiBody.model_json_schema()]}
    return {
        "requestBody": {"required": True, "content": _content(schema, examples=REQUEST_EXAMPLES)}
    }


def rerank_responses() -> dict[int | str, dict[str, Any]]:
    """Responses of the route: the answer of either shape, and every error class."""
    answer = {"oneOf": [_COHERE_ANSWER, {"type": "array", "items": _TEI_ITEM}]}
    reasons: dict[int, list[str]] = {}
    for kind in all_errors():
        reasons.setdefault(kind.status, []).append((kind.__doc__ or "").split("\n")[0])
    errors: dict[int | str, dict[str, Any]] = {
        status: {"description": " ".join(reasons[status]), "content": _content(_ERROR)}
        for status in sorted(reasons)
    }
    return {
        200: {"description": "Results, best first.", "content": _content(answer)},
        **errors,
    }
