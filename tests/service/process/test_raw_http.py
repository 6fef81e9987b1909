"""Bytes that are hardly HTTP, on the socket of a real process."""

import os
import re
import socket
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.service.process.conftest import StartServer

# Of all requests of make fuzz, the share that goes over a socket.
NUM_CONNECTIONS = int(os.environ.get("FUZZ_REQUESTS", "2000")) // 20
IS_LONG = "FUZZ_REQUESTS" in os.environ

BODY = b'{"query":"b","texts":["a","b"]}'
JUNK = st.binary(max_size=12)
METHODS = st.sampled_from([b"POST", b"GET", b"PUT", b"PRI", b"post", b"CONNECT", b""]) | JUNK
METHODS |= st.sampled_from([b"POST", b"OPTIONS", b"TRACE", b"\xef\xbb\xbfPOST"])
TARGETS = st.sampled_from([b"/rerank", b"/", b"*", b"//", b"/%", b"/%ff%00", b"http://a/b"]) | JUNK
TARGETS |= st.sampled_from(
    [
        *(b"/rerank/", b"//v1//rerank//", b"/./rerank", b"/x/../rerank?a=/b", b"/%2e%2e/rerank"),
        *(b"http://a/rerank/", b"HTTPS://[::1]:9/rerank", b"http://a", b"http:///", b"a:443"),
        *(b"/v1/v1/rerank", b"/rerank#x", b"/rerank?", b"?", b"/docs/", b"/metrics//", b"ftp://a/"),
        *(b"/v1/retrieval/" + b"a/" * 9 + b"/reranking/", b"/r\xc3\xa9", b"/" + b"/" * 5000),
    ]
)
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 3 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.", b""]) | JUNK
LINES = st.sampled_from(
    [
        *(
            b"Content-Length: 31",
            b"Content-Length: 31",
            b"Content-Length: 5",
            b"Content-Length: -1",
        ),
        *(b"Content-Length: 99999999", b"Content-Length: 31, 31", b"Content-Length: x"),
        *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Expect: 100-continue"),
        *(b"Upgrade: TLS/1.0", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAM"),
        *(b"Connection: close", b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c"),
        *(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        *(b"Host: y", b" folded", b"no colon", b": no name", b"X: " + b"x" * 70_000),
    ]
) | st.builds(b"%b:%b".__mod__, st.tuples(JUNK, JUNK))
BODIES = st.sampled_from([BODY, BODY, b"", b"1f\r\n" + BODY + b"\r\n0\r\n\r\n", b"zz\r\n"]) | JUNK
REQUESTS = st.builds(
    lambda start, lines, body: b"\r\n".join([b" ".join(start), b"Host: x", *lines, b"", body]),
    st.tuples(METHODS, TARGETS, VERSIONS),
    st.lists(LINES, max_size=4),
    BODIES,
)
SENT = st.lists(REQUESTS, min_size=1, max_size=3).map(b"".join) | st.binary(max_size=60)


def answered(port: int, sent: bytes) -> bytes:
    """All that comes back until the server closes, which it does because no more will be sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(2**16), b""))
        except TimeoutError:
            raise
        except OSError:
            return b""  # refused and closed before all of it was sent


def check(received: bytes) -> None:
    """A row of whole answers, every error among them in the one form."""
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        start = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
        assert start
        status = int(start[1])
        assert status < 500
        length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
        size = int(length[1]) if length else 0
        body, received = rest[:size], rest[size:]
        if status >= 400 and len(body) == size:
            error = orjson.loads(body)
            assert (error["code"], error["object"]) == (status, "error")
            assert error["error"] == error["message"] == error["detail"]


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
def test_any_bytes_are_answered_or_refused(start_server: "StartServer") -> None:
    server = start_server()
    with server.client() as client:
        while client.get("/readyz").status_code != 200:
            pass

        @settings(
            max_examples=NUM_CONNECTIONS, derandomize=not IS_LONG, database=None, deadline=None
        )
        @given(sent=SENT)
        def run(sent: bytes) -> None:
            check(answered(server.port, sent))

        run()
        assert client.post("/rerank", content=BODY).json()[0]["index"] == 1
    failures = [line for line in server.lines if '"error"' in line or '"critical"' in line]
    assert failures == []
