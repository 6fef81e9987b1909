"""The documentation of POST /rerank. Made from the body and error classes, so it cannot drift."""

from typing import Any

from pydantic import TypeAdapter

from blockrank_server.service.errors import all_errors
from blockrank_server.service.shapes import SHAPES

REQUEST_EXAMPLES: dict[str, Any] = {
    f"shape {shape.name}": {"summary": shape.peers, "value": shape.example} for shape in SHAPES
}


def _object(required: list[str], /, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


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
    schema = {"oneOf": [shape.model_json_schema() for shape in SHAPES]}
    return {
        "requestBody": {"required": True, "content": _content(schema, examples=REQUEST_EXAMPLES)}
    }


def rerank_responses() -> dict[int | str, dict[str, Any]]:
    """Responses of the route: the answer of either shape, and every error class."""
    answer = {"oneOf": [TypeAdapter(shape.answer).json_schema() for shape in SHAPES]}
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
