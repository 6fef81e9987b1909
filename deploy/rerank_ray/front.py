"""Stands between Ray's proxies and the server's app, and makes up for what is different there."""

import asyncio
from collections.abc import Awaitable, Callable

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blockrank_server.service.errors import UnknownPathError
from blockrank_server.service.middleware.request_record import REQUEST_ID_HEADER
from blockrank_server.service.middleware.request_target import plain_path

METRICS = "/metrics"
TARGETS = "/metrics/targets"


class Front:
    """Passes everything to the server's app as it is, but for three things.

    /metrics: the proxies would give the figures of any one replica, so it is refused; TARGETS lists
    the addresses at which each replica gives its own, for Prometheus' http_sd_configs.

    X-Request-ID: Ray's proxies put it into every request without one and into every answer.

    A client that goes: Ray cancels, where a web server says http.disconnect.

    Args:
        targets: gives the addresses of all replicas, as host:port.
    """

    def __init__(self, app: ASGIApp, targets: Callable[[], Awaitable[list[str]]]) -> None:
        self._app, self._targets = app, targets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or run the app inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif plain_path(scope["path"]) == METRICS:
            error = UnknownPathError(f"each replica has its own; GET {TARGETS} lists them")
            response = error.response(Headers(scope=scope).get(REQUEST_ID_HEADER, ""))
            await response(scope, receive, send)
        elif plain_path(scope["path"]) == TARGETS:
            content = orjson.dumps([{"targets": await self._targets()}])
            await Response(content, media_type="application/json")(scope, receive, send)
        else:
            await _run(self._app, scope, receive, _without_request_id(send))


def _without_request_id(send: Send) -> Send:
    async def send_without(message: Message) -> None:
        if message["type"] == "http.response.start":
            del MutableHeaders(scope=message)[REQUEST_ID_HEADER]
        await send(message)

    return send_without


async def _run(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the app, and tell it of a cancellation as of a client that has gone."""
    gone = asyncio.Event()

    async def receive_or_gone() -> Message:
        message = asyncio.ensure_future(receive())
        leaving = asyncio.ensure_future(gone.wait())
        try:
            await asyncio.wait((message, leaving), return_when=asyncio.FIRST_COMPLETED)
            return {"type": "http.disconnect"} if gone.is_set() else await message
        finally:
            message.cancel()
            leaving.cancel()

    answer = asyncio.ensure_future(app(scope, receive_or_gone, send))
    try:
        await asyncio.shield(answer)
    except asyncio.CancelledError:
        gone.set()
        await answer
        raise
