"""A request whose caller has gone does not keep the model from the next one."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from tests.service.process.conftest import Process, StartServer

# Predicted to take 6.1 s of the 8 there are, and 0.7 s at least, because equal documents may be
# computed once; and 2.1 s, too much to preempt the other.
LONG: dict[str, Any] = {"query": "steps", "documents": ["a b c d e f"] * 10}
SHORT: dict[str, Any] = {"query": "a", "documents": ["a b c d e f g h i j"] * 2}
SMALL: dict[str, Any] = {"documents": ["a", "b"]}


@pytest.fixture
def server(start_server: "StartServer") -> "Process":
    return start_server(BLOCKRANK_MODEL="stepwise", BLOCKRANK_REQUEST_TIMEOUT_MS="8000")


def wait_for(client: httpx.Client, path: str, text: str) -> None:
    while text not in client.get(path).text:
        pass


def send(port: int, given: dict[str, Any], *head: str) -> socket.socket:
    """A connection with a whole request on it."""
    content = json.dumps(given).encode()
    lines = ["POST /rerank HTTP/1.1", "Host: x", f"Content-Length: {len(content)}", *head, "", ""]
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall("\r\n".join(lines).encode() + content)
    return connection


@pytest.mark.parametrize("reason", ["client_gone", "deadline"])
def test_the_next_caller_is_answered_and_not_refused(server: "Process", reason: str) -> None:
    with server.client() as client, ThreadPoolExecutor() as pool:
        wait_for(client, "/readyz", '"ready"')
        head = ["X-Request-Timeout-Ms: 1000"] if reason == "deadline" else []
        with send(server.port, LONG, *head) as connection:
            server.read_until("step 1")
            if reason == "client_gone":
                assert client.post("/rerank", json=SHORT).status_code == 429
            else:
                assert connection.recv(100).startswith(b"HTTP/1.1 504")
        server.read_until('"status":499' if reason == "client_gone" else '"status":504')
        after = pool.submit(client.post, "/rerank", json=SHORT)
        with httpx.Client(base_url=client.base_url, timeout=60) as other:
            wait_for(other, "/metrics", "rerank_queue_requests 1.0")
        server.release()
        assert after.result(60).status_code == 200
        metrics = client.get("/metrics").text
    assert not [line for line in server.lines if "step 2" in line]
    assert 'rerank_batch_incidents_total{kind="aborted"} 1.0' in metrics
    assert 'rerank_batch_incidents_total{kind="failed"} 0.0' in metrics
    assert f'rerank_dropped_total{{reason="{reason}"}} 1.0' in metrics


def test_a_caller_in_the_same_batch_keeps_it_going(start_server: "StartServer") -> None:
    server = start_server(BLOCKRANK_MODEL="stepwise", BLOCKRANK_MAX_BATCH_MS="2000")
    with server.client() as client, ThreadPoolExecutor() as pool:
        wait_for(client, "/readyz", '"ready"')
        held = pool.submit(client.post, "/rerank", json=SMALL | {"query": "steps"})
        server.read_until("step 1")
        leaves = send(server.port, SMALL | {"query": "steps"})
        with httpx.Client(base_url=client.base_url, timeout=60) as other:
            wait_for(other, "/metrics", "rerank_queue_requests 1.0")
            stays = pool.submit(other.post, "/rerank", json=SMALL | {"query": "b"})
            wait_for(client, "/metrics", "rerank_queue_requests 2.0")
            for _ in range(10):
                server.release()
            assert held.result(60).status_code == 200
            server.read_until("step 1")
            leaves.close()
            server.read_until('"status":499')
            for _ in range(10):
                server.release()
            assert stays.result(60).status_code == 200
            metrics = client.get("/metrics").text
    assert 'rerank_batch_incidents_total{kind="aborted"} 0.0' in metrics
    assert 'rerank_dropped_total{reason="client_gone"} 0.0' in metrics
