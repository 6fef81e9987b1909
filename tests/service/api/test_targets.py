"""URLs and methods as clients send them: every route, however spelt, and what a miss is told."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.routing import Route
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from blockrank_server.service.api.playground_clients import client_programs
from blockrank_server.service.dialects.registry import ROUTES

if TYPE_CHECKING:
    from tests.service.conftest import MakeClient

PLAYGROUND = [
    *("api.js", "dom.js", "icon.svg", "judge.js", "link.js", "main.js", "measures.js", "parse.js"),
    *("picture.js", "presets.json", "snippets.js", "states.js", "style.css", "trials.js"),
]
CLIENTS = [f"/playground/clients/{each.file_name}" for each in client_programs()]
BODIES = {
    path.replace("{rest:path}", "a/b"): route.dialects[0].example
    for route in ROUTES
    for path in (route.path, *route.aliases)
} | {"/tokenize": {"inputs": "a"}}
POSTS = [*BODIES, "/documents"]
GETS = [
    *("/", "/health", "/health/live", "/livez", "/ping", "/health/ready", "/readyz"),
    *("/v1/health/live", "/v1/health/ready", "/.well-known/live", "/.well-known/ready"),
    *("/meta", "/info", "/v1/models", "/models", "/metrics", "/version", "/docs", "/openapi.json"),
    *("/playground", *(f"/playground/{name}" for name in PLAYGROUND)),
    *("/playground/clients.json", "/playground/clients/haystack-cohere.txt"),
]
SPELLINGS = [
    lambda path: f"{path}/",
    lambda path: f"/{path}",
    lambda path: f"{path}//",
    lambda path: path.replace("/", "//"),
    lambda path: f"/.{path}",
    lambda path: f"/x/..{path}",
    lambda path: f"http://a.example:80{path}",
    lambda path: f"HTTPS://[::1]{path}/",
]


def ask(client: TestClient, method: str, path: str, **options: Any) -> Any:
    """Asks for exactly this target, which an HTTP library would tidy up or take for a URL."""
    app = client.app

    async def as_sent(scope: Any, receive: Any, send: Any) -> None:
        await app(scope | {"path": path, "raw_path": path.encode()}, receive, send)

    inner = TestClient(as_sent, raise_server_exceptions=False)
    return inner.request(method, "/", follow_redirects=False, **options)


def test_the_lists_here_name_every_route(client: TestClient) -> None:
    assert isinstance(client.app, FastAPI)
    found = [each for each in client.app.routes if isinstance(each, Route)]
    for method, listed in (("POST", POSTS), ("GET", GETS)):
        patterns = [each.path_regex for each in found if method in (each.methods or ())]
        assert len(patterns) >= len(listed)
        paths = [*listed, *CLIENTS] if method == "GET" else listed
        assert all(any(p.match(path) for path in paths) for p in patterns)


@pytest.mark.parametrize("spelt", SPELLINGS)
def test_every_path_is_answered_however_it_is_spelt(client: TestClient, spelt: Any) -> None:
    for method, paths in (("POST", [*BODIES]), ("GET", GETS), ("HEAD", GETS)):
        for path in paths:
            answer = ask(client, method, spelt(path), json=BODIES.get(path))
            assert answer.status_code in (200, 204), (method, spelt(path))


def test_an_absolute_url_without_a_path_is_the_root(client: TestClient) -> None:
    assert ask(client, "GET", "http://a.example").json()["status"] == "ready"


def test_a_query_string_is_no_part_of_a_body(client: TestClient) -> None:
    for path, body in BODIES.items():
        sent = client.post(f"{path}/?query=x&top_n=-1", json=body)
        assert sent.status_code == 200


def test_head_is_get_without_its_body(client: TestClient) -> None:
    for path in GETS:
        sent = {"X-Request-ID": "one"}
        whole, head = client.get(path, headers=sent), client.head(path, headers=sent)
        assert (head.status_code, head.content) == (whole.status_code, b"")
        if path != "/metrics":  # its figures have changed
            assert head.headers == whole.headers


def test_options_lists_the_methods(client: TestClient) -> None:
    expected = dict.fromkeys(POSTS, "POST, OPTIONS")
    expected |= dict.fromkeys(GETS, "GET, HEAD, OPTIONS")
    expected["/"] = "GET, HEAD, POST, OPTIONS"
    expected["/static-offline-docs/favicon.png"] = "GET, HEAD, OPTIONS"
    expected["/documents"] = "POST, DELETE, OPTIONS"
    expected["/sglang/v1/rerank"] = "POST, PUT, OPTIONS"
    for path, methods in expected.items():
        answer = client.options(f"{path}/")
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["allow"] == methods, path


def test_options_of_the_whole_server(client: TestClient) -> None:
    answer = ask(client, "OPTIONS", "*")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["allow"] == "GET, HEAD, POST, PUT, DELETE, OPTIONS"


def assert_error(response: Any, status: int) -> str:
    body = response.json()
    assert response.status_code == body["code"] == status
    assert response.headers["content-type"] == "application/json"
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["error"] == body["message"] == body["detail"]
    return str(body["error"])


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"])
def test_a_method_that_a_path_does_not_take(client: TestClient, method: str) -> None:
    for path in (*POSTS, *GETS, "/static-offline-docs/favicon.png"):
        if method in client.options(path).headers["allow"].split(", "):
            continue
        answer = ask(client, method, path)
        message = assert_error(answer, 405)
        assert message.endswith(f"it takes {answer.headers['allow']}")
        assert method not in answer.headers["allow"].split(", ")
        assert method not in message.split("it takes")[0]


@pytest.mark.parametrize(
    ("method", "target", "status", "reason"),
    [
        ("CONNECT", "a.example:443", 405, "CONNECT asks for a proxy"),
        ("CONNECT", "/rerank", 405, "CONNECT asks for a proxy"),
        ("GET", "*", 400, "goes with the method OPTIONS alone"),
        ("POST", "a.example:443", 400, "neither a path nor an http URL"),
        ("POST", "rerank", 400, "neither a path nor an http URL"),
        ("GET", "ftp://a.example/health", 400, "neither a path nor an http URL"),
        ("OPTIONS", "**", 400, "neither a path nor an http URL"),
    ],
)
def test_a_target_of_no_form_of_ours(
    client: TestClient, method: str, target: str, status: int, reason: str
) -> None:
    answer = ask(client, method, target)
    assert reason in assert_error(answer, status)
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    ("method", "path", "nearest"),
    [
        ("POST", "/v1/v1/rerank", "/v1/rerank"),
        ("POST", "/api/v1/rerank/", "/v1/rerank"),
        ("POST", "/secret/cohere/v2/rerank", "/cohere/v2/rerank"),
        ("POST", "/v1/rerank/secret", "/v1/rerank"),
        ("POST", "/v1/rerankk", "/v1/rerank"),
        ("POST", "/V1/ReRank", "/v1/rerank"),
        ("POST", "/v1/retrieval/reranking", "/reranking"),
        ("POST", "/tokenise", "/tokenize"),
        ("GET", "/healthz", "/health"),
        ("GET", "/v1/model", "/v1/models"),
        ("GET", "/doc", "/docs"),
        ("GET", "/v1/v1/rerank", "/v1/rerank"),
        ("POST", "/" + "x" * 5000 + "/v1/rerank", "/v1/rerank"),
    ],
)
def test_a_miss_is_told_the_nearest_path(
    client: TestClient, method: str, path: str, nearest: str
) -> None:
    with capture_logs() as lines:
        message = assert_error(client.request(method, path), 404)
    assert message == f"No such path; did you mean {nearest}?"
    assert "secret" not in str(lines)
    assert {line["route"] for line in lines if line["event"] == "request"} == {None}


@pytest.mark.parametrize("path", ["/xyzzy", "/%00", "/\u2028", "/static-offline-docs/secret%00"])
def test_a_wide_miss_is_told_where_to_look(client: TestClient, path: str) -> None:
    assert assert_error(client.get(path), 404) == "No such path; /docs lists all"


def test_without_docs_none_are_named(make_client: "MakeClient") -> None:
    with make_client(docs=False) as client:
        assert assert_error(client.get("/xyzzy"), 404) == "No such path"


@pytest.fixture
def guarded(make_client: "MakeClient") -> Iterator[TestClient]:
    with make_client(api_keys=SecretStr("k"), metrics_need_key=True, root_path="/pre") as client:
        yield client


@pytest.mark.parametrize("spelt", SPELLINGS)
@pytest.mark.parametrize("prefix", ["", "/pre"])
def test_no_spelling_gets_around_a_key(guarded: TestClient, spelt: Any, prefix: str) -> None:
    path = spelt(f"{prefix}/metrics")
    for method in ("GET", "HEAD"):
        assert ask(guarded, method, path).status_code == 401
        assert ask(guarded, method, path, headers={"X-API-Key": "k"}).status_code == 200
    assert ask(guarded, "POST", spelt(f"{prefix}/rerank")).status_code == 401


def test_a_log_line_names_the_route_not_the_spelling(client: TestClient) -> None:
    with capture_logs() as lines:
        ask(client, "POST", "http://secret//v1/./rerank/", json=BODIES["/v1/rerank"])
    [line] = [line for line in lines if line["event"] == "request"]
    assert (line["route"], line["status"]) == ("/v1/rerank", 200)
    assert not re.search("secret", str(lines))
