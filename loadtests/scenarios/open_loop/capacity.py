"""Measures capacity: scored requests a second when clients send as fast as they are answered."""

import http.client
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from urllib.parse import urlsplit

PATH = "/rerank"
# Before a client that was refused asks again.
BACK_OFF_S = 0.2
# Requests of one batch end together: those this close to the first one say nothing about the rate.
_TOGETHER_S = 0.02
_MIN_ENDS = 5


class CapacityError(Exception):
    """Too few requests were scored to tell a rate."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """Holds a measured capacity.

    Attributes:
        capacity_per_s: scored requests a second.
        num_scored: requests it was taken from.
        num_clients: how many clients sent at once.
        duration_s: how long they sent.
    """

    capacity_per_s: float
    num_scored: int
    num_clients: int
    duration_s: float


def rate_per_s(ends_s: Sequence[float]) -> float:
    """Return the rate of requests that ended at these times, from the first end to the last.

    Raises:
        CapacityError: there are too few.
    """
    ordered = sorted(ends_s)
    later = [end for end in ordered if end > ordered[0] + _TOGETHER_S]
    if len(later) < _MIN_ENDS:
        raise CapacityError(
            f"only {len(ordered)} requests were scored: measure for longer, send smaller lists, "
            "or raise the server's request_timeout_ms"
        )
    return len(later) / (later[-1] - ordered[0])


def measure_capacity(
    host: str,
    body: Callable[[int], bytes],
    *,
    num_clients: int,
    duration_s: float,
    timeout_s: float,
) -> Capacity:
    """Keep a server saturated by clients that wait for their answers.

    Args:
        host: http://name:port.
        body: makes the body of a request from its number.
        num_clients: so many send at once; enough to fill two batches.
        duration_s: nothing is sent after this time.
        timeout_s: the longest wait for an answer.

    Raises:
        CapacityError: too few requests were scored.
    """
    ends_s: list[float] = []
    numbers = count()
    stop_s = time.perf_counter() + duration_s

    def work() -> None:
        post = _poster(host, timeout_s)
        while time.perf_counter() < stop_s:
            if post(body(next(numbers))) != http.client.OK:
                time.sleep(BACK_OFF_S)
            elif (end_s := time.perf_counter()) < stop_s:  # later ones had fewer beside them
                ends_s.append(end_s)

    clients = [threading.Thread(target=work) for _ in range(num_clients)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return Capacity(rate_per_s(ends_s), len(ends_s), num_clients, duration_s)


def _poster(host: str, timeout_s: float) -> Callable[[bytes], int]:
    connection = http.client.HTTPConnection(urlsplit(host).netloc, timeout=timeout_s)
    headers = {"Content-Type": "application/json"}

    def post(body: bytes) -> int:
        try:
            connection.request("POST", PATH, body, headers)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            connection.close()  # the next request opens it again
            return 0
        return response.status

    return post
