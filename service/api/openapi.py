"""Documents the API from dialects, routes and errors, so that the documentation cannot drift."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import orjson
from fastapi import FastAPI
from pydantic import TypeAdapter

from blockrank_server.service.api.overview import reason_for
from blockrank_server.service.api.response_headers import DESCRIPTIONS
from blockrank_server.service.dialects.base import DOCUMENTS, QUERY, Dialect
from blockrank_server.service.dialects.cohere import Cohere
from blockrank_server.service.dialects.documents_body import (
    DocumentsBody,
    FilledDocuments,
    ForgottenDocuments,
)
from blockrank_server.service.dialects.registry import DIALECTS, Route
from blockrank_server.service.dialects.request import Ranked, RerankResult
from blockrank_server.service.dialects.tokenize import (
    TeiToken,
    TeiTokenize,
    VllmTokenize,
    VllmTokens,
)
from blockrank_server.service.errors import ErrorBody, ServiceError, all_errors

TAGS = [
    {"name": "rerank", "description": "One path for every client: the body tells its dialect."},
    {
        "name": "one dialect",
        "description": "A path for each dialect, whatever the body looks like.",
    },
    {"name": "aliases", "description": "Paths that clients of other servers build."},
    {"name": "documents", "description": "What is computed of documents before they are ranked."},
    {"name": "tokens", "description": "How long a text is to the model."},
    {"name": "operations", "description": "Health, what is served, metrics."},
]
_HEADERS = {
    name: {"description": text, "schema": {"type": "string"}} for name, text in DESCRIPTIONS.items()
}
_RETRIED = (429, 503)  # answered with Retry-After
_TEI_TOKENS = list[list[TeiToken]]


def rerank_operation(route: Route, path: str) -> dict[str, Any]:
    """Return keyword arguments for add_api_route, for one path of a route."""
    is_shared, is_alias = len(route.dialects) > 1, path != route.path
    if is_alias:
        about = f"Same as `{route.path}`."
    elif is_shared:
        about = "The keys of the body choose the dialect of the answer; see the table on top."
    else:
        about = route.dialects[0].__doc__ or ""
    dialects = (
        route.dialects[-1],
        *route.dialects[:-1],
    )  # the one for all other bodies is shown first
    names = [dialect.name for dialect in dialects]
    answer = _content([dialect.answer for dialect in dialects], [f"{n}-answer" for n in names])
    if any(issubclass(dialect, Cohere) for dialect in dialects):
        answer |= {"text/event-stream": {"schema": {"type": "string"}}}  # with stream
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)", path)
    ]
    return {
        "summary": _summary(route, path),
        "description": about,
        "tags": ["aliases" if is_alias else "rerank" if is_shared else "one dialect"],
        "responses": {
            200: {"description": "The ranking.", "content": answer, "headers": _HEADERS},
            **_error_responses(),
        },
        "openapi_extra": _body(dialects, [f"{n}-body" for n in names])
        | ({"parameters": parameters} if parameters else {}),
    }


def tokenize_operation() -> dict[str, Any]:
    """Return keyword arguments for add_api_route, for POST /tokenize."""
    return {
        "summary": "Tokens of a text, in TEI's form (inputs) or vLLM's (prompt)",
        "description": TeiTokenize.__doc__,
        "tags": ["tokens"],
        "responses": {
            200: {"description": "The tokens.", "content": _content([_TEI_TOKENS, VllmTokens])},
            **_error_responses(),
        },
        "openapi_extra": _body([TeiTokenize, VllmTokenize], ["tei-tokenize", "vllm-tokenize"]),
    }


def documents_operation(method: str) -> dict[str, Any]:
    """Return keyword arguments for add_api_route, for POST or DELETE /documents."""
    is_filling = method == "POST"
    answer = FilledDocuments if is_filling else ForgottenDocuments
    return {
        "summary": "Compute documents before they are asked for"
        if is_filling
        else "Forget documents, in memory and on disk",
        "description": f"{DocumentsBody.__doc__} {answer.__doc__}",
        "tags": ["documents"],
        "responses": {
            200: {"description": "What became of them.", "content": _content([answer])},
            **_error_responses(),
        },
        "openapi_extra": _body([DocumentsBody], ["documents-body"]),
    }


def _error_responses() -> dict[int | str, dict[str, Any]]:
    """Return what any POST can be answered instead, by status."""
    kinds: dict[int, list[type[ServiceError]]] = {}
    for kind in all_errors():
        kinds.setdefault(kind.status, []).append(kind)
    return {
        status: {
            "description": " ".join(map(reason_for, kinds[status])),
            "content": _content([ErrorBody], [kind.__name__ for kind in kinds[status]]),
            "headers": _headers_of(kinds[status][0]),
        }
        for status in sorted(kinds)
    }


def add_components(app: FastAPI) -> None:
    """Let the app's document hold the schemas and examples its operations refer to."""
    make: Callable[[], dict[str, Any]] = app.openapi

    def with_components() -> dict[str, Any]:
        document = make()
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(_schemas()[1])
        # Here, because FastAPI drops every null of an example that stands in an operation.
        components["examples"] = _examples()
        return document

    app.openapi = with_components  # type: ignore[method-assign]


@cache
def _schemas() -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    """Return a schema for each dialect, answer and the error; and the named ones they refer to."""
    kinds = [*DIALECTS, *(dialect.answer for dialect in DIALECTS), ErrorBody]
    kinds += [TeiTokenize, _TEI_TOKENS, VllmTokenize, VllmTokens]
    kinds += [DocumentsBody, FilledDocuments, ForgottenDocuments]
    found, rest = TypeAdapter.json_schemas(
        [(kind, "validation", TypeAdapter(kind)) for kind in kinds],
        ref_template="#/components/schemas/{model}",
    )
    named: dict[str, Any] = rest["$defs"]
    for dialect in DIALECTS:
        # A dialect's own fields come first, those that every dialect has after them.
        properties = named[dialect.__name__]["properties"]
        in_order = sorted(properties, key=lambda name: name in Dialect.model_fields)
        named[dialect.__name__]["properties"] = {name: properties[name] for name in in_order}
    return {kind: schema for (kind, _), schema in found.items()}, named


@cache
def _examples() -> dict[str, Any]:
    """Return a body for each dialect and the answer to it."""
    found: dict[str, Any] = {}
    for dialect in DIALECTS:
        body = dialect.read(dialect.example)
        request = body.request()
        ranking = (Ranked(1, "0.81723415"), Ranked(0, "0.18276585"))[: request.top_n]
        result = RerankResult(request, "0d1f4b6e", ranking, "default", num_tokens=42)
        answer = orjson.loads(orjson.dumps(body.render(result)))
        found[f"{dialect.name}-body"] = {"summary": dialect.peers, "value": dialect.example}
        found[f"{dialect.name}-answer"] = {"summary": dialect.peers, "value": answer}
    found["tei-tokenize"] = {"value": {"inputs": [QUERY, DOCUMENTS[0]]}}
    found["documents-body"] = {"value": {"documents": list(DOCUMENTS)}}
    found["vllm-tokenize"] = {"value": {"prompt": QUERY}}
    for kind in all_errors():
        found[kind.__name__] = {
            "summary": reason_for(kind),
            "value": _example(kind).body("0d1f4b6e"),
        }
    return found


def _example(kind: type[ServiceError]) -> ServiceError:
    """Make an error whose text is what its class says of itself."""
    error = kind.__new__(kind)  # some fix their own text, or need what only a running server has
    ServiceError.__init__(
        error, reason_for(kind), retry_after_s=1 if kind.status in _RETRIED else None
    )
    return error


def _headers_of(kind: type[ServiceError]) -> dict[str, Any]:
    """Return the headers of an error, with an example of each."""
    return {
        name: {"description": f"Such as {value}.", "schema": {"type": "string"}}
        for name, value in _example(kind).headers().items()
    }


def _summary(route: Route, path: str) -> str:
    if path != route.path:
        return f"As {route.path}"
    if len(route.dialects) > 1:
        return "Rank documents"
    return f"As {route.dialects[0].peers.split(',')[0]}: dialect {route.dialects[0].name}"


def _body(kinds: Sequence[Any], examples: Sequence[str]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": _content(kinds, examples)}}


def _content(kinds: Sequence[Any], examples: Sequence[str] = ()) -> dict[str, Any]:
    """Describe JSON of one of these types, with these of the document's examples."""
    found = [_schemas()[0][kind] for kind in kinds]
    # Not oneOf: an answer without documents is one of Cohere's and one of Infinity's.
    schema = {"anyOf": found} if len(found) > 1 else found[0]
    shown = {name: {"$ref": f"#/components/examples/{name}"} for name in examples}
    return {"application/json": {"schema": schema} | ({"examples": shown} if shown else {})}
