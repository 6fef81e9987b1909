"""Decides, as ASGI middleware, who may ask, and how much at once."""

from collections import Counter
from typing import Any

from fastapi import FastAPI
from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from blockrank_server.service.errors import KeyLimitError, ServiceError, UnauthorizedError
from blockrank_server.service.middleware.api_keys import ApiKey, ApiKeys
from blockrank_server.service.middleware.request_record import RequestRecord
from blockrank_server.service.settings import Settings

# Every other method needs a key, on every path: a route that is added later needs one too.
_OPEN_METHODS = ("GET", "HEAD", "OPTIONS")
_METRICS_PATH = "/metrics"


class Authentication:
    """Lets requests with a key in force through, up to a number of each key at a time.

    It refuses before the body is read and before a route is looked for.
    """

    def __init__(self, app: ASGIApp, keys: ApiKeys, settings: Settings) -> None:
        self._app, self._keys = app, keys
        self._covers_metrics = settings.metrics_need_key
        self._is_salting = settings.document_cache_salt == "api_key"
        self._limit = settings.max_concurrent_requests_per_key
        self._num_concurrent: Counter[bytes] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app inside, or refuse."""
        if scope["type"] != "http" or not self._needs_key(scope):
            await self._app(scope, receive, send)
            return
        record: RequestRecord = scope["state"]["record"]
        try:
            key = self._admit(Headers(scope=scope), record)
        except ServiceError as error:
            record.is_rerank = scope["method"] not in _OPEN_METHODS
            record.reason = error.reason
            await error.response(record.request_id)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._num_concurrent[key.digest] -= 1
            if not self._num_concurrent[key.digest]:
                del self._num_concurrent[key.digest]

    def _needs_key(self, scope: Scope) -> bool:
        is_open = scope["method"] in _OPEN_METHODS
        return not is_open or (self._covers_metrics and get_route_path(scope) == _METRICS_PATH)

    def _admit(self, headers: Headers, record: RequestRecord) -> ApiKey:
        """Finds the caller's key, and counts one request more for it.

        Raises:
            UnauthorizedError: there is none, or it is not in force.
            KeyLimitError: it has as many requests as it may.
        """
        sent = _sent_keys(headers)
        if (key := self._keys.find(sent)) is None:
            raise UnauthorizedError(
                "API key is not valid"
                if sent
                else "API key is missing: send Authorization: Bearer <key>"
            )
        record.key = key.name
        if self._is_salting:
            record.key_salt = key.digest.hex()
        if self._limit is not None and self._num_concurrent[key.digest] >= self._limit:
            raise KeyLimitError(
                f"API key has {self._limit} concurrent requests, the limit "
                "(max_concurrent_requests_per_key)",
                retry_after_s=1,
            )
        self._num_concurrent[key.digest] += 1
        return key


def _sent_keys(headers: Headers) -> list[str]:
    """Return every key sent, at most one a header: a proxy may have put its own beside it."""
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    bare = "" if rest else scheme  # LlamaIndex's TEI client sends it so
    bearer = rest.strip() if scheme.lower() == "bearer" else ""
    found = (bearer, bare, headers.get("x-api-key", ""), headers.get("api-key", ""))
    return [key for key in found if key]


def document_keys(app: FastAPI) -> None:
    """Have /docs ask for a key, for every operation that needs one."""
    without_keys = app.openapi

    def openapi() -> dict[str, Any]:
        document = without_keys()
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["key"] = {"type": "http", "scheme": "bearer"}
        for operations in document["paths"].values():
            for method, operation in operations.items():
                if method.upper() not in _OPEN_METHODS:
                    operation["security"] = [{"key": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]
