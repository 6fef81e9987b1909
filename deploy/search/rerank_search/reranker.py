"""Asks POST /rerank and /documents, and gives one request several tries before its deadline.

Ranking changes nothing on the server, so a request whose answer got lost can be sent again: this is
what carries searches over a restart of the reranker.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence

import httpx

from rerank_search.backend import SearchError
from rerank_search.documents import Document

_RETRIED = (429, 502, 503)  # overloaded; a proxy without a server; loading or draining
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 2.0
# A request holds up searches that come meanwhile: on two cores of a CPU for half a second.
_FILLED_TOGETHER = 4


class Reranker:
    """Reorders documents by asking a blockrank-server.

    Args:
        client: has the base URL of the server.
        timeout_s: limits a request with all its tries.
        api_key: the key, if the server wants one.
        sleep: waits between tries, in seconds.
        clock: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        timeout_s: float,
        api_key: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._timeout_s = client, timeout_s
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._sleep, self._clock = sleep, clock

    def order(self, query: str, documents: Sequence[Document]) -> list[tuple[int, float]]:
        """Return the index and the score of every document, best first.

        Raises:
            SearchError: refused, or not answered in time.
        """
        answer = self._send({"query": query, "documents": [each.passage for each in documents]})
        return [(each["index"], each["relevance_score"]) for each in answer.json()["results"]]

    def fill(self, documents: Sequence[Document]) -> Iterator[int]:
        """Have documents computed before they are searched for.

        Yields:
            How many of them are done, after each request.

        Raises:
            SearchError: refused, for example because the server keeps no documents; or not
                answered in time.
        """
        for first in range(0, len(documents), _FILLED_TOGETHER):
            part = documents[first : first + _FILLED_TOGETHER]
            self._send({"documents": [each.passage for each in part]}, "/documents")
            yield first + len(part)

    def _send(self, body: object, path: str = "/rerank") -> httpx.Response:
        deadline_s = self._clock() + self._timeout_s
        wait_s = _FIRST_WAIT_S
        while True:
            answer, problem = self._try(path, body, deadline_s - self._clock())
            if answer is not None and answer.is_success:
                return answer
            retry_after_s = _retry_after_s(answer)
            pause_s = max(wait_s, retry_after_s or 0)
            may_retry = answer is None or answer.status_code in _RETRIED
            if not may_retry or self._clock() + pause_s >= deadline_s:
                raise SearchError(f"the reranker {problem}", retry_after_s)
            self._sleep(pause_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _try(self, path: str, body: object, left_s: float) -> tuple[httpx.Response | None, str]:
        headers = self._headers | {"X-Request-Timeout-Ms": str(max(1, math.floor(left_s * 1000)))}
        try:
            # A little more than the server is given, so that its own answer wins.
            answer = self._client.post(path, json=body, headers=headers, timeout=left_s + 0.5)
        except httpx.TransportError as error:
            return None, f"gave no answer ({type(error).__name__})"
        return answer, f"answered {answer.status_code}"


def _retry_after_s(answer: httpx.Response | None) -> int | None:
    text = answer.headers.get("Retry-After", "") if answer is not None else ""
    return int(text) if text.isascii() and text.isdigit() else None
