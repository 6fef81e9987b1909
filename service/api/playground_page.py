"""Serves /playground: a page on which anyone can try the ranking, made of files that lie beside.

The programs of clients come one by one, when they are picked (playground_clients.py).

Its policy lets it load nothing from elsewhere. Who wants to compare with another server opens it as
/playground?compare=ORIGIN, and that origin alone may then be asked as well. Every URL in it is
relative, because a proxy may put a prefix in front of them.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from blockrank_server.service.api.playground_clients import client_programs

PATH = "/playground"
_FOLDER = Path(__file__).with_name("playground")
_PAGE = "index.html"
_BASE = b'<base href="./">'
_MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
# Trusted types: the browser itself refuses to read any text as HTML.
_POLICY = (
    "default-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'; require-trusted-types-for 'script'"
)
# Neither a quote, a space nor a semicolon, which would end the directive.
_ORIGIN = re.compile(r"https?://([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?")


def add_playground(app: FastAPI) -> None:
    """Add the page and its files, which are read now and kept: they are small."""
    for each in sorted(_FOLDER.iterdir()):
        if each.name == _PAGE:
            app.router.add_route(PATH, _page(each.read_bytes()), include_in_schema=False)
        else:
            _add_file(app, each.name, each.read_bytes())
    programs = client_programs()
    listed = [each.name for each in programs]
    _add_file(app, "clients.json", json.dumps(listed, separators=(",", ":")).encode())
    for program in programs:
        _add_file(app, f"clients/{program.file_name}", program.text.encode())


def _add_file(app: FastAPI, name: str, content: bytes) -> None:
    app.router.add_route(f"{PATH}/{name}", _file(name, content), include_in_schema=False)


def policy(compare: str) -> str:
    """Return the page's Content-Security-Policy.

    Args:
        compare: the origin of a server that may be asked, too; anything else changes nothing.
    """
    if _ORIGIN.fullmatch(compare) is None:
        return _POLICY
    return f"{_POLICY}; connect-src 'self' {compare}"


def _page(content: bytes) -> Callable[[Request], Awaitable[Response]]:
    assert _BASE in content

    async def page(request: Request) -> Response:
        sent: bytes = request.scope.get("raw_path") or b""
        path = sent.partition(b"?")[0]
        # /playground/ is one folder deeper than /playground
        up = b"../" * (len(path) - len(path.rstrip(b"/"))) or b"./"
        headers = {
            "Content-Security-Policy": policy(request.query_params.get("compare", "")),
            "Referrer-Policy": "no-referrer",
        }
        return _answer(request, _PAGE, content.replace(_BASE, b'<base href="%s">' % up), headers)

    return page


def _file(name: str, content: bytes) -> Callable[[Request], Awaitable[Response]]:
    async def file(request: Request) -> Response:
        return _answer(request, name, content, {})

    return file


def _answer(request: Request, name: str, content: bytes, more: dict[str, str]) -> Response:
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {
        "Content-Type": _MEDIA_TYPES[name.rpartition(".")[2]],
        "ETag": etag,
        # Asked for again each time: after an update, no old script meets a new page.
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
        **more,
    }
    had = request.headers.get("If-None-Match", "").split(",")
    if etag in {each.strip().removeprefix("W/") for each in had}:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers)
