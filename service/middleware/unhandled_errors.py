"""Turns a bug, as ASGI middleware, into a flat 500 and a log line without the caller's text."""

import asyncio
import time
import traceback
import uuid

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blockrank_server.service.errors import DrainingError, InternalError, ServiceError
from blockrank_server.service.middleware.request_record import REQUEST_ID_HEADER, RequestRecord


class UnhandledErrors:
    """Answers when the app inside raises what nobody expected.

    Starlette's own handler sits outside of every middleware, so its answer would have no CORS
    headers, and it raises again: the server would log the exception's text, which may quote a
    document (`KeyError: '...'`). Outside of all other middleware it answers for their bugs, too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = structlog.get_logger(__name__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def send_seen(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_seen)
        except asyncio.CancelledError:  # drain_timeout_s is over
            if not is_started:
                await _answer(DrainingError(), _record(scope))(scope, receive, send)
            raise
        except Exception as error:
            if is_started:  # too late for an answer; the server breaks the connection
                raise
            record = _record(scope)
            self._log.error("a bug", request_id=record.request_id, traceback=traceback_of(error))
            await _answer(InternalError("Internal error"), record)(scope, receive, send)


def _answer(error: ServiceError, record: RequestRecord) -> Response:
    record.reason = error.reason
    response = error.response(record.request_id)
    response.headers[REQUEST_ID_HEADER] = record.request_id
    return response


def _record(scope: Scope) -> RequestRecord:
    """Return the request's record, or a new one if it failed before it had any."""
    found: RequestRecord | None = scope.get("state", {}).get("record")
    return found or RequestRecord(uuid.uuid4().hex, time.perf_counter())


def traceback_of(error: BaseException) -> str:
    """Write tracebacks as Python does, newest exception first, with types and without texts."""
    parts = []
    current: BaseException | None = error
    while current is not None:
        parts.append("".join(traceback.format_tb(current.__traceback__)) + type(current).__name__)
        is_hidden = current.__suppress_context__
        current = current.__cause__ or (None if is_hidden else current.__context__)
    return "\nafter\n".join(parts)
