"""A real process and clients that do not do their part. No timing: each test waits for an end."""

import contextlib
import re
import select
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import orjson
import pytest

if TYPE_CHECKING:
    from tests.service.process.conftest import Process, StartServer

NUM_BYTES = 15_000_000  # of an answer: more than the kernel buffers on both sides
HEAD = "POST /rerank HTTP/1.1\r\nHost: x\r\n"
CLOSED = (ConnectionResetError, BrokenPipeError)


@pytest.fixture(scope="module")
def server(start_server: "StartServer") -> "Process":
    return start_server(
        BLOCKRANK_REQUEST_TIMEOUT_MS="1000",
        BLOCKRANK_CONNECTION_TIMEOUT_S="1",
        BLOCKRANK_API_KEYS="a-key",
    )


@pytest.fixture(scope="module")
def client(server: "Process") -> Iterator[httpx.Client]:
    with server.client() as client:
        while client.get("/readyz").status_code != 200:
            pass
        yield client


@pytest.fixture
def slow(client: httpx.Client, server: "Process") -> Iterator[socket.socket]:
    """A raw connection that reads little at a time."""
    with socket.socket() as slow:
        slow.settimeout(60)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", server.port))
        yield slow


def drip_until_answered(slow: socket.socket) -> bytes:
    """Send a byte at a time; what the server said meanwhile, b"" if it hung up."""
    while not select.select([slow], [], [], 0.01)[0]:
        slow.sendall(b"x")
    return slow.recv(4096)


def drip_until_closed(slow: socket.socket) -> None:
    with contextlib.suppress(*CLOSED):
        while drip_until_answered(slow):
            pass


def num_open_files(client: httpx.Client) -> int:
    found = re.search(r"^process_open_fds (\d+)", client.get("/metrics").text, re.MULTILINE)
    assert found
    return int(found[1])


def test_a_body_byte_by_byte_ends_with_the_deadline(slow: socket.socket) -> None:
    head = HEAD + "Authorization: Bearer a-key\r\nContent-Length: 1000000\r\n\r\n"
    slow.sendall(head.encode())
    answer = drip_until_answered(slow)
    while not answer.endswith(b"}") and (more := slow.recv(4096)):  # head and body may come apart
        answer += more
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"No answer within 1000 ms: the rest of the body did not come" in answer
    drip_until_closed(slow)


def test_a_stranger_s_body_ends_with_the_connection(slow: socket.socket) -> None:
    slow.sendall((HEAD + "Content-Length: 1000000\r\n\r\n").encode())
    assert drip_until_answered(slow).startswith(b"HTTP/1.1 401 ")
    drip_until_closed(slow)


def test_a_head_byte_by_byte_ends_with_the_connection(slow: socket.socket) -> None:
    slow.sendall((HEAD + "X-Slow: ").encode())
    drip_until_closed(slow)


def test_silence_ends_with_the_connection(slow: socket.socket) -> None:
    assert slow.recv(1) == b""


def test_an_answer_that_is_never_read_is_given_up(
    client: httpx.Client, slow: socket.socket
) -> None:
    body = {"query": "q", "texts": ["x" * NUM_BYTES], "return_text": True}
    raw = orjson.dumps(body)
    head = f"{HEAD}Authorization: Bearer a-key\r\nContent-Length: {len(raw)}\r\n\r\n"
    slow.sendall(head.encode() + raw)
    while (
        'rerank_requests_total{dialect="tei",status="200"} 1.0' not in client.get("/metrics").text
    ):
        pass
    num_before = num_open_files(client)
    while num_open_files(client) >= num_before:
        pass
    received = 0
    with contextlib.suppress(*CLOSED):
        while chunk := slow.recv(2**20):
            received += len(chunk)
    assert 0 < received < NUM_BYTES
