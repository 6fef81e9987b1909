"""Gives each replica a port for its own probes, where Ray's proxies answer for any replica."""

import asyncio
import socket

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from blockrank_server.service.middleware.request_target import plain_path

_PATHS = ("/metrics", "/health", "/health/ready", "/info")


class ProbesPort:
    """Listens on a free port of this machine, from now on.

    Args:
        app: is the server's; it asks for a key on /metrics if it was told to.
        host: is the address to listen on.

    Attributes:
        address: host:port.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._socket = socket.create_server((host, 0))
        self.address = f"{host}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            lifespan="off",  # Ray runs it
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Answer, until the process ends."""
        self._serving = asyncio.create_task(self._server.serve([self._socket]))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if plain_path(scope["path"]) in _PATHS and scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse("probes only\n", 404)(scope, receive, send)
