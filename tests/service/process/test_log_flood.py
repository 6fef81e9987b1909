"""What any client can cause is logged at debug alone, but for the one line of its request."""

import json
import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.service.process.conftest import StartServer

BODY = b'{"query":"b","texts":["a","b"]}'
END = b"\r\n\r\n"
UPGRADES = (
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAAAA",
    "Upgrade: h2c\r\nConnection: Upgrade",
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Upgrade: websocket\r\nConnection: keep-alive, Upgrade",
    "Upgrade: TLS/1.0, HTTP/2.0\r\nConnection: Upgrade",
    "Upgrade: secret",
    "Connection: Upgrade",
    "Connection: Upgrade, HTTP2-Settings",
    "Connection: secret",
    "Expect: secret",
    "TE: trailers, secret\r\nConnection: TE",
)


def upgrades() -> list[bytes]:
    starts = ("POST /rerank", "GET /health", "GET /rerank", "GET /secret", "HEAD /docs")
    return [
        f"{start} HTTP/1.1\r\nHost: x\r\n{lines}\r\nContent-Length: {len(BODY)}".encode()
        + END
        + BODY
        for start in starts
        for lines in UPGRADES
    ]


@pytest.mark.parametrize("level", ["info", "debug"])
def test_nothing_is_warned_of_that_a_client_does(start_server: "StartServer", level: str) -> None:
    server = start_server(BLOCKRANK_LOG_LEVEL=level)
    with server.client() as client:
        while client.get("/readyz").status_code != 200:
            pass
        num_before = len(server.lines)
        for sent in upgrades():
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
                connection.sendall(sent)
                assert connection.recv(5) == b"HTTP/"
        client.post("/rerank", content=BODY, headers={"X-Request-ID": "the-last"})
        server.read_until("the-last")
    lines = [json.loads(line) for line in server.lines[num_before:]]
    found = {(line["level"], line["event"]) for line in lines}
    assert {each for each in found if each[0] != "debug"} == {("info", "request")}
    assert sum(line["level"] == "info" for line in lines) == len(UPGRADES) + 1
    text = "".join(server.lines)
    assert "secret" not in text
    assert "pip install" not in text
