"""What a client is told of a request that is none: the real reason, in JSON, over a socket."""

import contextlib
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.service.process.conftest import Process, StartServer

BODY = b'{"query":"b","texts":["a","b"]}'
POST = b"POST /rerank HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /health HTTP/1.1\r\n"
END = b"\r\n\r\n"
TLS = bytes.fromhex("16030100c8010000c40303") + bytes(range(190))

HEADS = [
    (GET + b"\r\n", "The header Host is missing"),
    (GET + b"Host: x\r\nhost: y" + END, "Host was sent more than once"),
    (b"GET /health" + END, "has no HTTP version"),
    (b"GET /health\r\nHost: x" + END, "has no HTTP version"),
    (b"GET  HTTP/1.1\r\nHost: x" + END, "not of the form METHOD TARGET HTTP/1.1"),
    (b"GET /health HTTP/1\r\nHost: x" + END, "not of the form METHOD TARGET HTTP/1.1"),
    (b"GET /health HTTP/11\r\nHost: x" + END, "not of the form METHOD TARGET HTTP/1.1"),
    (b"GET /health SIP/2.0\r\nHost: x" + END, "not of the form METHOD TARGET HTTP/1.1"),
    (b"GET /health HTTP/3.0\r\nHost: x" + END, "neither 1.1 nor 1.0"),
    (b"secret\r\n" + END, "not of the form METHOD TARGET HTTP/1.1"),
    (b" GET /health HTTP/1.1\r\nHost: x" + END, "does not begin with a method"),
    (b"G(T /health HTTP/1.1\r\nHost: x" + END, "does not begin with a method"),
    (b"GET\t/health\tHTTP/1.1\r\nHost: x" + END, "does not begin with a method"),
    (b"\xef\xbb\xbfGET /health HTTP/1.1\r\nHost: x" + END, "does not begin with a method"),
    (b'{"query":"secret"}\r\n' + END, "does not begin with a method"),
    (b"GET /a b HTTP/1.1\r\nHost: x" + END, "holds a space: write %20"),
    (b"GET /a\x07b HTTP/1.1\r\nHost: x" + END, "holds a control character"),
    (b"GET /a\x7fb HTTP/1.1\r\nHost: x" + END, "holds a control character"),
    ("GET /é HTTP/1.1\r\nHost: x".encode() + END, "outside of ASCII: percent-encode"),
    (GET + b"Host: x\r\nsecret" + END, "Header line 2 has no name and colon"),
    (GET + b" folded: x\r\nHost: x" + END, "Header line 1 has no name and colon"),
    (GET + b"Host: x\r\n: secret" + END, "name in header line 2"),
    (GET + b"Host : x" + END, "name in header line 1"),
    (GET + b"Host: x\r\nX Y: secret" + END, "name in header line 2"),
    ("GET / HTTP/1.1\r\nHost: x\r\né: secret".encode() + END, "name in header line 2"),
    (GET + b"Host: x\r\nX: a\x00b" + END, "value in header line 2 holds a control character"),
    (GET + b"Host: x\r\nX: a\rb" + END, "value in header line 2 holds a control character"),
    (GET + b"Host: x\r\nX: a\r\n b\x00" + END, "value in header line 3 holds a control"),
    (POST + b"Content-Length: x" + END, "Content-Length is not a number"),
    (POST + b"Content-Length: -1" + END, "Content-Length is not a number"),
    (POST + b"Content-Length: +31" + END + BODY, "Content-Length is not a number"),
    (POST + b"Content-Length: " + b"9" * 21 + END, "Content-Length is not a number"),
    (POST + b"Content-Length: 31\r\nContent-Length: 30" + END, "with different values"),
    (POST + b"Content-Length: 31, 30" + END, "with different values"),
    (POST + b"Content-Length: 31\r\nTransfer-Encoding: chunked" + END, "were both sent"),
    (POST + b"Transfer-Encoding: gzip, chunked" + END, "something else than chunked"),
    (POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n", "sent more than once"),
    (CHUNKED + b"zz\r\n", "begin with its size in hexadecimal"),
    (CHUNKED + BODY + b"\r\n", "begin with its size in hexadecimal"),
    (CHUNKED + b"0x1f\r\n" + BODY, "begin with its size in hexadecimal"),
    (CHUNKED + b"5\r\n" + BODY, "longer than its size"),
    (CHUNKED + b"1" * 40_000, "begin with its size in hexadecimal"),
    (CHUNKED + b"0\r\nsecret\r\n\r\n", "trailer of the chunked body"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "speaks HTTP/2: this port speaks HTTP/1.1"),
    (TLS, "speaks TLS: this port speaks HTTP, not HTTPS"),
    (bytes.fromhex("802e0103010015") + END, "speaks TLS"),
    (b"HEAD /health HTTP/3.0\r\nHost: x" + END, ""),
    (b"HEAD /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked" + END + b"zz\r\n", ""),
]
# Told only when the client says that it has ended.
CUT_OFF = [
    (GET + b"Host: x\r\n", "ended before its head"),
    (GET[:5], "ended before its head"),
    (b"secret\n", "not of the form METHOD TARGET"),
    (POST + b"Content-Length: 40" + END + BODY, "body ended after 31 of 40 bytes"),
    (CHUNKED, "ended before its last chunk"),
    (CHUNKED + b"1f\r\n" + BODY + b"\r\n", "ended before its last chunk"),
    (CHUNKED + b"1f\r\n" + BODY[:9], "ended before its last chunk"),
    (CHUNKED + b"1", "ended before its head or its last chunk"),
]


@pytest.fixture(scope="module")
def server(start_server: "StartServer") -> "Process":
    server = start_server()
    with server.client() as client:
        while client.get("/readyz").status_code != 200:
            pass
    return server


def answered(port: int, sent: bytes, *, has_ended: bool) -> bytes:
    """All that comes back, until the server ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(sent)
        if has_ended:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(2**16), b""))


def error_of(received: bytes, status: int) -> Any:
    head, _, body = received.partition(END)
    start, *lines = head.decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert start.startswith(f"http/1.1 {status} ")
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    assert headers["x-request-id"]
    if not body:
        return None
    assert int(headers["content-length"]) == len(body)
    error = json.loads(body)
    assert (error["code"], error["request_id"]) == (status, headers["x-request-id"])
    assert error["error"] == error["message"] == error["detail"]
    return error["error"]


@pytest.mark.parametrize(("sent", "reason"), HEADS)
def test_the_real_reason_is_told(server: "Process", sent: bytes, reason: str) -> None:
    error = error_of(answered(server.port, sent, has_ended=False), 400)
    assert (error is None) == (reason == "")
    assert reason in (error or "")
    assert "secret" not in (error or "")


@pytest.mark.parametrize(("sent", "reason"), CUT_OFF)
def test_a_request_that_was_cut_off_is_told_so(server: "Process", sent: bytes, reason: str) -> None:
    assert reason in error_of(answered(server.port, sent, has_ended=True), 400)


@pytest.mark.parametrize("num_bytes", [17_000, 100_000, 1_000_000, 10_000_000])
@pytest.mark.parametrize("start", [GET + b"Host: x\r\nCookie: ", b"GET /", GET + b"X: y\r\n" * 9])
def test_a_head_that_is_too_long_is_told_its_limit(
    server: "Process", num_bytes: int, start: bytes
) -> None:
    """However much of it comes behind the refusal, which would not arrive if nobody read that."""
    sent = start + b"x" * num_bytes
    error = error_of(answered(server.port, sent, has_ended=False), 431)
    assert error == "Request line and headers have more than 16384 bytes"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.0" + END,
        b"GET /health HTTP/1.0\r\nConnection: keep-alive" + END,
        b"\r\n\r\n" + GET + b"Host: x\r\nConnection: close" + END,
        GET.replace(b"\r\n", b"\n") + b"Host: x\nConnection: close\n\n",
        GET + b"Host:\r\nConnection: close" + END,
        GET + b"Host: x\r\nX: \xc3\xa9\x07\r\nConnection: close" + END,
        b"GET http://a.example/health HTTP/1.1\r\nHost: b\r\nConnection: close" + END,
        b"GET //health/?a=b HTTP/1.1\r\nHost: b\r\nConnection: close" + END,
        b"GET /%68ealth%2f HTTP/1.1\r\nHost: b\r\nConnection: close" + END,
        b"OPTIONS * HTTP/1.1\r\nHost: b\r\nConnection: close" + END,
        POST + b"Connection: close\r\nContent-Length: 31, 31" + END + BODY,
        POST
        + b"Connection: close\r\nTransfer-Encoding: CHUNKED"
        + END
        + b"1F;a=b\r\n"
        + BODY
        + b"\r\n0\r\nTrailer: x"
        + END,
        b"POST /rerank HTTP/1.0\r\nContent-Length: 31" + END + BODY + b"\r\n",
        POST + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 31" + END + BODY,
    ],
)
def test_what_rfc_9112_has_a_server_accept_is_answered(server: "Process", sent: bytes) -> None:
    received = answered(server.port, sent, has_ended=False)
    assert received.removeprefix(b"HTTP/1.1 100 Continue" + END)[:11] == b"HTTP/1.1 20"
    assert received.count(b"HTTP/1.1 20") == 1


def test_an_empty_line_behind_a_body_is_no_request(server: "Process") -> None:
    """As `echo` puts one behind its text, and clients of old."""
    first = POST + b"Content-Length: 31" + END + BODY + b"\r\n\n"
    received = answered(server.port, first * 2, has_ended=True)
    assert received.count(b"HTTP/1.1 200 OK") == received.count(b"HTTP/1.1") == 2


def test_what_comes_behind_the_last_request_is_dropped(server: "Process") -> None:
    """In one packet or several: the client has said that there will be no other request."""
    for last in (POST + b"Connection: close\r\n", b"POST /rerank HTTP/1.0\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(last + b"Content-Length: 31" + END + BODY + b"\r\n")
            with contextlib.suppress(ConnectionError):  # it may have answered and closed by now
                connection.sendall(b"\r\nmore")
            assert connection.recv(2**16).startswith(b"HTTP/1.1 200 OK")


def test_connect_is_refused_and_the_connection_goes_on(server: "Process") -> None:
    sent = b"CONNECT a.example:443 HTTP/1.1\r\nHost: x" + END + GET + b"Host: x" + END
    received = answered(server.port, sent, has_ended=True)
    assert received.startswith(b"HTTP/1.1 405 ")
    assert b"CONNECT asks for a proxy" in received
    assert received.count(b"HTTP/1.1 200 OK") == 1


@pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS"])
def test_no_body_comes_with_these_methods(server: "Process", method: bytes) -> None:
    for target in (b"/health/", b"/metrics", b"/docs", b"/openapi.json", b"/nope"):
        sent = method + b" " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close" + END
        head, _, body = answered(server.port, sent, has_ended=False).partition(END)
        is_told = method == b"OPTIONS" and target == b"/nope"
        assert (body != b"") == is_told
        assert b"content-length: 0" not in head.lower()


@pytest.mark.parametrize("level", ["info", "debug"])
def test_nothing_is_warned_of_that_a_client_does(start_server: "StartServer", level: str) -> None:
    server = start_server(BLOCKRANK_LOG_LEVEL=level)
    with server.client() as client:
        while client.get("/readyz").status_code != 200:
            pass
        num_before = len(server.lines)
        for sent, _ in (*HEADS, *CUT_OFF):
            assert answered(server.port, sent, has_ended=True)
            socket.create_connection(("127.0.0.1", server.port), timeout=60).close()
        client.post("/rerank", content=BODY, headers={"X-Request-ID": "the-last"})
        server.read_until("the-last")
    lines = [json.loads(line) for line in server.lines[num_before:]]
    assert {line["level"] for line in lines} - {"debug"} == {"info"}
    told = [line for line in lines if line["level"] == "info"]
    assert {line["event"] for line in told} == {"request"}  # of those whose head was one
    assert len(told) == len({line["request_id"] for line in told})
    assert "secret" not in str(lines)
    reasons = {line.get("reason") for line in lines}
    assert ("The header Host is missing" in reasons) == (level == "debug")
