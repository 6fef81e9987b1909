"""Tries and deadlines of one request to the reranker, on a clock of its own."""

import json

import httpx
import pytest

from rerank_search.backend import SearchError
from rerank_search.documents import Document
from rerank_search.reranker import Reranker

DOCUMENTS = [Document("a", "A", "first"), Document("b", "B", "second")]
GOOD = httpx.Response(
    200,
    json={
        "results": [{"index": 1, "relevance_score": 0.75}, {"index": 0, "relevance_score": 0.25}]
    },
)


class Server:
    """Gives prepared answers; an exception is raised. Time passes only while the caller sleeps."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.now_s = 0.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def reranker(self, timeout_s: float = 10, api_key: str | None = None) -> Reranker:
        client = httpx.Client(base_url="http://there", transport=httpx.MockTransport(self))
        return Reranker(
            client,
            timeout_s=timeout_s,
            api_key=api_key,
            sleep=self.sleep,
            clock=lambda: self.now_s,
        )


def test_gives_index_and_score_best_first() -> None:
    server = Server(GOOD)
    assert server.reranker().order("q", DOCUMENTS) == [(1, 0.75), (0, 0.25)]
    [request] = server.requests
    assert (request.method, request.url.path) == ("POST", "/rerank")
    assert json.loads(request.content) == {"query": "q", "documents": ["A\nfirst", "B\nsecond"]}
    assert request.headers["X-Request-Timeout-Ms"] == "10000"
    assert "Authorization" not in request.headers


def test_shows_its_key() -> None:
    server = Server(GOOD)
    server.reranker(api_key="secret").order("q", DOCUMENTS)
    assert server.requests[0].headers["Authorization"] == "Bearer secret"


def test_tries_again_while_the_server_restarts() -> None:
    server = Server(
        httpx.RemoteProtocolError("killed in the middle"),
        httpx.ConnectError("nobody listens"),
        httpx.Response(503, headers={"Retry-After": "3"}),
        GOOD,
    )
    assert server.reranker().order("q", DOCUMENTS)[0] == (1, 0.75)
    # 0.2 and 0.4 s, then what the server asked for.
    assert server.now_s == pytest.approx(3.6)
    left_ms = [int(request.headers["X-Request-Timeout-Ms"]) for request in server.requests]
    assert left_ms == [10000, 9800, 9400, 6400]


def test_waits_as_an_overloaded_server_asks() -> None:
    server = Server(httpx.Response(429, headers={"Retry-After": "2"}), GOOD)
    server.reranker().order("q", DOCUMENTS)
    assert server.now_s == 2


def test_gives_up_where_the_next_try_would_be_too_late() -> None:
    server = Server(httpx.Response(429, headers={"Retry-After": "10"}))
    with pytest.raises(SearchError, match="answered 429") as caught:
        server.reranker(timeout_s=10).order("q", DOCUMENTS)
    assert caught.value.retry_after_s == 10
    assert server.now_s == 0


def test_a_server_that_stays_away_is_an_error_within_the_deadline() -> None:
    server = Server(*(httpx.ConnectError("nobody listens") for _ in range(20)))
    with pytest.raises(SearchError, match="ConnectError"):
        server.reranker(timeout_s=10).order("q", DOCUMENTS)
    assert 8 <= server.now_s < 10


@pytest.mark.parametrize("status", [400, 401, 413, 422, 500, 504])
def test_what_another_try_would_not_change_is_an_error_at_once(status: int) -> None:
    server = Server(httpx.Response(status, text="a document's text"))
    with pytest.raises(SearchError, match=f"answered {status}$"):
        server.reranker().order("q", DOCUMENTS)


def test_documents_are_filled_in_a_few_at_a_time() -> None:
    documents = [Document(str(i), f"T{i}", f"text {i}") for i in range(10)]
    server = Server(*[httpx.Response(503)], *[httpx.Response(200, json={}) for _ in range(3)])
    assert list(server.reranker().fill(documents)) == [4, 8, 10]
    assert {str(request.url) for request in server.requests} == {"http://there/documents"}
    bodies = [json.loads(request.content) for request in server.requests[1:]]
    sent = [text for body in bodies for text in body["documents"]]
    assert sent == [f"T{i}\ntext {i}" for i in range(10)]


def test_a_server_that_keeps_nothing_is_not_filled() -> None:
    with pytest.raises(SearchError, match="answered 404"):
        list(Server(httpx.Response(404)).reranker().fill(DOCUMENTS))
