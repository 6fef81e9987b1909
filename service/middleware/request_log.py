"""Gives every HTTP request one id, one log line and one count."""

import re
import time
import uuid
from typing import Protocol

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blockrank_server.service.metrics import Metrics
from blockrank_server.service.middleware.request_record import REQUEST_ID_HEADER, RequestRecord

# A caller may send any word as a method; only these are logged.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,128}")


class Tracer(Protocol):
    """Makes traces of requests."""

    def report(self, headers: Headers, record: RequestRecord, status: int) -> None:
        """Take a rerank request that is over; called once for each."""


class RequestLog:
    """Gives every request its record, as ASGI middleware, and reports it when it has ended."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer
        self._log = structlog.get_logger(__name__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(_request_id(Headers(scope=scope)), time.perf_counter())
        scope.setdefault("state", {})["record"] = record
        status = 500  # unless a response is started: an exception on its way out

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = record.request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._report(scope, record, status)

    def _report(self, scope: Scope, record: RequestRecord, status: int) -> None:
        duration_s = time.perf_counter() - record.started_s
        line: dict[str, object] = {
            "method": scope["method"] if scope["method"] in _METHODS else "other",
            "route": getattr(scope.get("route"), "path", None),  # the template, never the path
            "status": status,
            "duration_ms": round(1000 * duration_s, 2),
            "request_id": record.request_id,
        }
        if not record.is_rerank:
            self._log.debug("request", **line)
            return
        self._log.info(
            "request",
            **line,
            dialect=record.dialect,
            reason=record.reason,
            key=record.key,
            num_documents=record.num_documents,
            num_tokens=record.num_tokens,
        )
        self._metrics.finished(
            dialect=record.dialect,
            status=record.failed_status or status,
            duration_s=duration_s,
            num_documents=record.num_documents,
            cached=record.cached,
        )
        if record.reason is not None:
            self._metrics.rejected(record.reason)
        if self._tracer is not None:
            self._tracer.report(Headers(scope=scope), record, status)


def _request_id(headers: Headers) -> str:
    given = headers.get(REQUEST_ID_HEADER, "")
    return given if _PRINTABLE.fullmatch(given) else uuid.uuid4().hex
