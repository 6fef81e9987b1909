"""What any client can cause is logged at debug alone, but for the one line of its request."""

import json
import socket
from typing import TYPE_CHECKING

import pytest

from tests.service.process.test_malformed import BODY, CUT_OFF, END, HEADS, answered

if TYPE_CHECKING:
    from tests.service.process.conftest import StartServer

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
            assert b"HTTP/1.1 " in answered(server.port, sent, has_ended=True)
        for sent, _ in (*HEADS, *CUT_OFF):
            assert answered(server.port, sent, has_ended=True)
            socket.create_connection(("127.0.0.1", server.port), timeout=60).close()
        client.post("/rerank", content=BODY, headers={"X-Request-ID": "the-last"})
        server.read_until("the-last")
    lines = [json.loads(line) for line in server.lines[num_before:]]
    found = {(line["level"], line["event"]) for line in lines}
    assert {each for each in found if each[0] != "debug"} == {("info", "request")}
    ids = [line["request_id"] for line in lines if line["level"] == "info"]
    assert len(UPGRADES) < len(ids) == len(set(ids))  # a line for each that reached the app
    text = "".join(server.lines)
    assert "secret" not in text
    assert "pip install" not in text
    if level == "debug":
        assert any(line.get("reason") == "The header Host is missing" for line in lines)
