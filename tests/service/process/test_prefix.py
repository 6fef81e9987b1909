"""The server behind a proxy that gives it a prefix, which it strips or not."""

import contextlib
import http.client
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import httpx
import pytest

if TYPE_CHECKING:
    from tests.service.process.conftest import StartServer

PREFIX = "/team/rerank-a"


def handler(port: int, *, strips: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Hands on what is below the prefix, and knows nothing else."""

        def do_GET(self) -> None:
            if not self.path.startswith(PREFIX):
                self.send_error(404, "not below the prefix")
                return
            path = self.path.removeprefix(PREFIX) if strips else self.path
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            behind = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            with contextlib.closing(behind):
                sent = {"Content-Type": self.headers.get("Content-Type", "")}
                behind.request(self.command, path or "/", body, sent)
                answer = behind.getresponse()
                content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() != "content-length" or self.command == "HEAD":
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_HEAD = do_OPTIONS = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextlib.contextmanager
def proxy(port: int, *, strips: bool) -> Iterator[str]:
    """The URL of the prefix."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(port, strips=strips)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}{PREFIX}"
        server.shutdown()
        thread.join()


# With root_path a proxy may strip the prefix or not; without, the server cannot know that there is
# one, and must not have to.
CASES = [("", True), (PREFIX, True), (f"{PREFIX}/", True), (PREFIX, False)]


@pytest.fixture(
    params=CASES, ids=["plain", "root_path", "closing slash", "not stripped"], scope="module"
)
def base(request: pytest.FixtureRequest, start_server: "StartServer") -> Iterator[str]:
    root_path, strips = request.param
    server = start_server(BLOCKRANK_ROOT_PATH=root_path)
    with server.client() as direct:
        while direct.get("/readyz").status_code != 200:
            pass
    with proxy(server.port, strips=strips) as url:
        yield url


@pytest.mark.parametrize("page", ["docs", "docs/"])
def test_the_docs_find_what_is_theirs(base: str, page: str) -> None:
    at = f"{base}/{page}"
    text = httpx.get(at).raise_for_status().text
    names = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(names) == 3
    assert not [name for name in names if name.startswith("/") or "//" in name]
    for name in names:
        assert httpx.get(urljoin(at, name)).raise_for_status().content
    [document] = re.findall(r"url: '([^']+)'", text)
    at = urljoin(at, document)
    found = httpx.get(at).raise_for_status().json()
    # What "Try it out" does, in RFC 3986's way to resolve a relative URL.
    for server in found["servers"]:
        url = urljoin(at, server["url"]).rstrip("/") + "/tei/rerank"
        example = found["components"]["examples"]["tei-body"]["value"]
        assert httpx.post(url, json=example).raise_for_status().json()


def test_every_path_is_answered_below_it(base: str) -> None:
    body = {"query": "b", "texts": ["a", "b"]}
    for path in ("/rerank", "/rerank/", "//v1/rerank", "", "/"):
        assert httpx.post(f"{base}{path}", json=body).json()[0]["index"] == 1
    for path in ("", "/", "/health", "/health/", "/metrics/", "/v1/models/"):
        for method in ("GET", "HEAD"):
            assert httpx.request(method, f"{base}{path}").status_code == 200
    answer = httpx.options(f"{base}/rerank/")
    assert (answer.status_code, answer.headers["allow"]) == (204, "POST, OPTIONS")


def test_nothing_is_redirected_and_a_hint_fits(base: str) -> None:
    answer = httpx.post(f"{base}/v1/v1/rerank/", json={})
    assert answer.status_code == 404
    hint = answer.json()["error"].removeprefix("No such path; did you mean ").removesuffix("?")
    assert hint in ("/v1/rerank", f"{PREFIX}/v1/rerank")
