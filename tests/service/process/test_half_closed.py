"""Clients that end their own direction and wait, and those that are gone: who gets an answer."""

import socket
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from tests.service.process.conftest import Process, StartServer

BODY = b'{"query":"b","texts":["a","b"]}'
HELD = b'{"query":"hold b","texts":["a","b"]}'
END = b"\r\n\r\n"


def request(body: bytes, *lines: bytes) -> bytes:
    sized = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"POST /rerank HTTP/1.1", b"Host: x", sized, *lines]) + END + body


CHUNKED = b"POST /rerank HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked" + END
H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ")


@pytest.fixture
def server(start_server: "StartServer") -> "Process":
    return start_server()


@pytest.fixture
def client(server: "Process") -> Iterator[httpx.Client]:
    with server.client() as client:
        wait_for(client, "/readyz", '"ready"')
        yield client


def wait_for(client: httpx.Client, path: str, text: str) -> None:
    while text not in client.get(path).text:
        pass


def half_closed(port: int, sent: bytes) -> socket.socket:
    """A connection on which its client will send no more, as `nc -N` leaves it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(sent)
    connection.shutdown(socket.SHUT_WR)
    return connection


def read_all(connection: socket.socket) -> bytes:
    with connection:
        return b"".join(iter(lambda: connection.recv(2**16), b""))


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\nHost: x" + END,
        b"GET /health HTTP/1.0" + END,
        b"GET /docs HTTP/1.1\r\nHost: x" + END,
        b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x" + END,
        request(BODY),
        request(BODY) + b"\n",
        request(BODY, b"Connection: close"),
        request(BODY, b"Expect: 100-continue"),
        request(BODY, *H2C),
        CHUNKED + b"1f\r\n" + BODY + b"\r\n0" + END,
        request(BODY) * 3,
        request(BODY, *H2C) * 3,
    ],
)
def test_the_answer_comes_whole_and_once(
    server: "Process", client: httpx.Client, sent: bytes
) -> None:
    received = read_all(half_closed(server.port, sent))
    num_requests = sent.count(b" HTTP/1.")
    assert received.startswith(b"HTTP/1.1 ")
    assert received.count(b"HTTP/1.1 200 OK\r\n") == num_requests
    assert received.count(b"HTTP/1.1 100 ") == received.count(b"HTTP/1.1 ") - num_requests
    if num_requests == 1:
        assert f"content-length: {len(received.rpartition(END)[2])}".encode() in received.lower()


@pytest.mark.parametrize("lines", [(), (b"Connection: close",), (b"Expect: 100-continue",), H2C])
def test_the_answer_is_waited_for(
    server: "Process", client: httpx.Client, lines: tuple[bytes, ...]
) -> None:
    waiting = half_closed(server.port, request(HELD, *lines))
    server.read_until("holding")
    received = b""
    while not received.endswith(b"HTT"):  # what is sent before the answer is known
        received += waiting.recv(1)
    server.release()
    received += read_all(waiting)
    received = received.removeprefix(b"HTTP/1.1 100 Continue" + END)
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.count(b"HTTP/1.1") == 1
    assert received.endswith(b"]")


def test_an_error_is_waited_for(start_server: "StartServer") -> None:
    server = start_server(BLOCKRANK_REQUEST_TIMEOUT_MS="300")
    with server.client() as client:
        wait_for(client, "/readyz", '"ready"')
        received = read_all(half_closed(server.port, request(HELD)))
        server.release()
    assert received.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    assert received.count(b"HTTP/1.1") == 1


def close(connection: socket.socket) -> None:
    connection.close()


def end_and_close(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    connection.close()


def end_and_close_later(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(1) == b"H"
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def end_and_reset(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    reset(connection)


@pytest.mark.parametrize("lines", [(), (b"Connection: close",), H2C])
@pytest.mark.parametrize("leave", [close, end_and_close, end_and_close_later, reset, end_and_reset])
def test_a_client_that_is_gone_is_noticed_while_the_model_works(
    server: "Process",
    client: httpx.Client,
    leave: Callable[[socket.socket], None],
    lines: tuple[bytes, ...],
) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall(request(HELD, *lines))
    server.read_until("holding")
    leave(connection)
    wait_for(client, "/metrics", 'rerank_requests_total{dialect="tei",status="499"} 1.0')
    server.release()
    assert client.post("/rerank", content=BODY).status_code == 200
