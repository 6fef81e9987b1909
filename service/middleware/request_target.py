"""Reduces, as ASGI middleware, every form of a request target to the path of a route."""

import posixpath
import re

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from blockrank_server.service.errors import BadHttpError, MethodNotAllowedError, ServiceError
from blockrank_server.service.middleware.request_record import RequestRecord

# In the order in which Allow lists them: all that any path takes.
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
_ABSOLUTE = re.compile(r"https?://[^/]*", re.IGNORECASE)


class RequestTarget:
    """Rewrites scope["path"], so that keys and routes are held against one spelling of each path.

    A closing slash, doubled slashes and dot segments go (RFC 3986, 6.2.2.3), without a redirect,
    whose Location could not know the prefix that a proxy has stripped. A target in absolute form
    keeps its path only (RFC 9112, 3.2.2).

    Args:
        root_path: what a proxy puts in front of every path, for a scope that does not say.
    """

    def __init__(self, app: ASGIApp, root_path: str | None) -> None:
        self._app = app
        self._root_path = (root_path or "").rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app inside, or answer what no path can."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record: RequestRecord = scope["state"]["record"]
        if (scope["method"], scope["path"]) == ("OPTIONS", "*"):
            await allow(Response(status_code=204), METHODS)(scope, receive, send)
            return
        scope["root_path"] = scope.get("root_path", "").rstrip("/") or self._root_path
        scope["state"]["root_path"] = scope["root_path"]  # a mount inside adds to the other
        try:
            scope["path"] = _path(scope)
        except ServiceError as error:
            record.reason = error.reason
            response = error.response(record.request_id)
            if isinstance(error, MethodNotAllowedError):
                allow(response, METHODS)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def allow(response: Response, methods: tuple[str, ...]) -> Response:
    """Give a response the header Allow, which a 405 must have and an answer to OPTIONS should."""
    response.headers["Allow"] = ", ".join(methods)
    return response


def plain_path(target: str) -> str:
    """Return the one spelling of a path, whatever its target's form; of no path, the target."""
    if (prefix := _ABSOLUTE.match(target)) is not None:
        target = target[prefix.end() :] or "/"
    return "/" + posixpath.normpath(target).lstrip("/") if target.startswith("/") else target


def _path(scope: Scope) -> str:
    path = plain_path(scope["path"])
    if scope["method"] == "CONNECT":
        raise MethodNotAllowedError("CONNECT asks for a proxy, and this server is none")
    if path == "*":
        raise BadHttpError("The request target * goes with the method OPTIONS alone")
    if not path.startswith("/"):
        raise BadHttpError("The request target is neither a path nor an http URL")
    root = scope["root_path"]
    if path == root:
        return f"{path}/"
    # A proxy may have stripped it, but in ASGI a path has it.
    return path if path.startswith(f"{root}/") else root + path
