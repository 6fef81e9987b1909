"""What every client must do on a real server; one subclass for each client."""

from typing import ClassVar

import pytest

from live_server import KEY, LiveServer

Ranking = list[tuple[int, float]]  # index and score, best first

QUERY = "capital of France"
DOCUMENTS = [
    "Berlin is the capital of Germany",
    "Paris is the capital of France",
    "Bread rises for an hour",
    "Lyon is a town in France",
]
ORDER = [1, 0, 3, 2]
# The fake ranker's limits.
TOO_MANY = ["x"] * 1001
TOO_LONG = "word " * 51


class Contract:
    """The tests of one client.

    Attributes:
        hides: statuses whose message it keeps from its user, with what it raises instead.
        tries: requests it sends before it gives up on 429.
        refused: documents that the server answers with 422, and a part of the message.
    """

    hides: ClassVar[dict[int, type[Exception]]] = {}
    tries: ClassVar[int] = 1
    refused: ClassVar[tuple[list[str], str]] = (
        TOO_MANY,
        "batch size 1001 > maximum allowed batch size 1000",
    )

    def rank(self, url: str, key: str, query: str, documents: list[str]) -> Ranking:
        """Ask the server at url for all documents, with the client under test."""
        raise NotImplementedError

    def failure(self, url: str, key: str, documents: list[str]) -> Exception:
        """What the client raises."""
        with pytest.raises(Exception) as caught:  # noqa: PT011  each client has its own
            self.rank(url, key, QUERY, documents)
        return caught.value

    def shown(self, error: Exception) -> str:
        """What a user can read of an error."""
        return str(error)

    def check(self, status: int, error: Exception, message: str) -> None:
        """The message is shown; or the client is known to hide it."""
        if status not in self.hides:
            assert message in self.shown(error)
        else:
            assert type(error) is self.hides[status]
            assert message not in self.shown(error), "it tells now: take it out of hides"

    def test_it_ranks_as_the_server_does(self, server: LiveServer) -> None:
        """Same order and scores as a plain request."""
        expected = server.post("/cohere/v2/rerank", {"query": QUERY, "documents": DOCUMENTS})
        ranking = self.rank(server.url, KEY, QUERY, DOCUMENTS)
        assert [index for index, _ in ranking] == ORDER
        assert [score for _, score in ranking] == pytest.approx(
            [result["relevance_score"] for result in expected["results"]], abs=1e-9
        )

    def test_it_says_that_the_key_is_wrong(self, server: LiveServer) -> None:
        before = server.num_requests(401)
        self.check(401, self.failure(server.url, "wrong", DOCUMENTS), "API key is not valid")
        assert server.num_requests(401) == before + 1

    def test_it_says_what_is_wrong_with_a_request(self, server: LiveServer) -> None:
        documents, message = self.refused
        before = server.num_requests(422)
        self.check(422, self.failure(server.url, KEY, documents), message)
        assert server.num_requests(422) == before + 1

    def test_it_says_that_the_server_is_overloaded(self, server: LiveServer) -> None:
        before = server.num_requests(429)
        with server.overloaded():
            self.check(429, self.failure(server.url, KEY, DOCUMENTS), "Model is overloaded")
        assert server.num_requests(429) == before + self.tries


class RetryingContract(Contract):
    """The tests of a client that tries again on 429."""

    tries = 3

    def test_it_gets_its_ranking_once_there_is_room(self, server: LiveServer) -> None:
        before = server.num_requests(429)
        with server.overloaded_once():
            ranking = self.rank(server.url, KEY, QUERY, DOCUMENTS)
        assert [index for index, _ in ranking] == ORDER
        assert server.num_requests(429) == before + 1
