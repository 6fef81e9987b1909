"""Defines clients that misbehave: which arrivals do, and what they do to their connection."""

import http.client
import random
import socket
import time
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

# Pieces of a slow client's body.
_PIECES = 20


class Fault(StrEnum):
    """Names what is wrong with a client."""

    NONE = "none"
    SLOW = "slow"
    LEAVING = "leaving"
    LEAVING_MID_BODY = "leaving_mid_body"

    @property
    def leaves(self) -> bool:
        """Say whether the client goes away and so may get no answer."""
        return self in (Fault.LEAVING, Fault.LEAVING_MID_BODY)


@dataclass(frozen=True, slots=True)
class Faults:
    """Says which share of the clients misbehaves.

    Attributes:
        slow: share that sends its body over slow_s.
        leaving: share that sends all and goes away after leave_after_s, unless it was answered.
        leaving_mid_body: share that sends half of its body and goes away after leave_after_s.
    """

    slow: float = 0.0
    leaving: float = 0.0
    leaving_mid_body: float = 0.0
    slow_s: float = 2.0
    leave_after_s: float = 0.3

    def __post_init__(self) -> None:
        shares = (self.slow, self.leaving, self.leaving_mid_body)
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError(f"shares of faults {shares} are not within 0 .. 1 together")

    def __str__(self) -> str:
        slow = f"{self.slow:.0%} send their body over {self.slow_s:g} s"
        leaving = f"{self.leaving:.0%} leave after {self.leave_after_s:g} s"
        return f"{slow}, {leaving}, {self.leaving_mid_body:.0%} after half a body"

    def draw(self, rng: random.Random) -> Fault:
        shares = (self.slow, self.leaving, self.leaving_mid_body)
        kinds = (Fault.SLOW, Fault.LEAVING, Fault.LEAVING_MID_BODY, Fault.NONE)
        return rng.choices(kinds, (*shares, 1 - sum(shares)))[0]


NO_FAULTS = Faults()


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """Holds what a server said."""

    status: int
    headers: dict[str, str]
    content: bytes


class FaultClient:
    """Sends POST requests as a client at fault does; a connection for each.

    Args:
        host: http://name:port.
        timeout_s: the longest wait for an answer.
    """

    def __init__(self, host: str, path: str, timeout_s: float) -> None:
        url = urlsplit(host)
        self._address = (url.hostname or "", url.port or 80)
        self._host, self._path, self._timeout_s = url.netloc, path, timeout_s

    def send(self, body: bytes, fault: Fault, faults: Faults) -> RawAnswer | None:
        """Send one request.

        Returns:
            None if the client has gone before there was an answer.

        Raises:
            OSError: no connection, or no answer within timeout_s.
            http.client.HTTPException: the connection ended before an answer did.
        """
        with socket.create_connection(self._address, self._timeout_s) as connection:
            connection.sendall(self._head(body))
            if fault is Fault.SLOW:
                _send_slowly(connection, body, faults.slow_s)
            else:
                is_whole = fault is Fault.LEAVING
                connection.sendall(body if is_whole else body[: len(body) // 2])
                if not _is_answered_within(connection, faults.leave_after_s):
                    return None
            connection.settimeout(self._timeout_s)
            return _read(connection)

    def _head(self, body: bytes) -> bytes:
        return (
            f"POST {self._path} HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode("ascii")


def _send_slowly(connection: socket.socket, body: bytes, over_s: float) -> None:
    size = -(-len(body) // _PIECES)
    for start in range(0, len(body), size):
        time.sleep(over_s / _PIECES)
        connection.sendall(body[start : start + size])


def _is_answered_within(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return False
    return True


def _read(connection: socket.socket) -> RawAnswer:
    response = http.client.HTTPResponse(connection, method="POST")
    response.begin()
    return RawAnswer(response.status, dict(response.getheaders()), response.read())
