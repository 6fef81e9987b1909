"""Serves /docs: Swagger UI, whose files come from here and are named relatively to the page.

The usual page loads them from a CDN, and names this server's own by absolute paths, which miss
behind a proxy that strips a prefix.
"""

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

PATH = "/docs"
# Below the document's own folder, wherever that is to the client (OpenAPI 3.1, 4.8.5).
SERVERS = [{"url": "."}]
_FILES = "/static-offline-docs"


def add_docs_page(app: FastAPI) -> None:
    """Add the page and its files; the app itself serves its openapi_url."""
    app.mount(_FILES, _Files(packages=[("fastapi_offline", "static")]), name="docs-files")
    app.router.add_route(PATH, _page, include_in_schema=False)


async def _page(request: Request) -> Response:
    sent: bytes = request.scope.get("raw_path") or b""
    path = sent.partition(b"?")[0].decode("ascii", "replace")
    up = "../" * (len(path) - len(path.rstrip("/")))  # /docs/ is one folder deeper than /docs
    return get_swagger_ui_html(
        openapi_url=f"{up}openapi.json",
        title=f"{request.app.title} - Swagger UI",
        swagger_js_url=f"{up}{_FILES[1:]}/swagger-ui-bundle.js",
        swagger_css_url=f"{up}{_FILES[1:]}/swagger-ui.css",
        swagger_favicon_url=f"{up}{_FILES[1:]}/favicon.png",
    )


class _Files(StaticFiles):
    """Sends whole files only: Starlette refuses a range in plain text; a server may ignore it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [each for each in scope["headers"] if each[0] != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)
