"""Faults under load: every request gets exactly one answer, and the counts say so."""

import json
import signal
import socket
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from tests.service.process.conftest import Process, StartServer

NUM_CLIENTS = 16


@pytest.fixture
def server(start_server: "StartServer") -> "Process":
    return start_server(BLOCKRANK_MAX_BATCH_TOKENS="40")


def wait_for(client: httpx.Client, path: str, text: str) -> None:
    while text not in client.get(path).text:
        pass


def body(word: str, number: int) -> dict[str, Any]:
    return {"query": f"{word} {number}", "documents": [f"{word} a", "b c"]}


def post_all(url: str, bodies: Sequence[dict[str, Any]]) -> list[int]:
    """Status of each, sent by many clients at once; 0 for one that got no answer."""

    def post(part: Sequence[dict[str, Any]]) -> list[int]:
        with httpx.Client(base_url=url, timeout=60) as client:
            return [status_of(client, each) for each in part]

    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        parts = pool.map(post, [bodies[i::NUM_CLIENTS] for i in range(NUM_CLIENTS)])
        return [status for part in parts for status in part]


def status_of(client: httpx.Client, each: dict[str, Any]) -> int:
    try:
        return client.post("/rerank", json=each).status_code
    except httpx.HTTPError:
        return 0


def amid_load(
    server: "Process", client: httpx.Client, pool: ThreadPoolExecutor, num_requests: int
) -> "Future[list[int]]":
    """Statuses to come of requests of which 200 are answered by now."""
    bodies = [body("fine", i) for i in range(num_requests)]
    load = pool.submit(post_all, str(client.base_url), bodies)
    for _ in range(200):
        server.read_until('"status":200')
    return load


def counted(client: httpx.Client) -> Counter[int]:
    """Rerank requests by status, as the server counts them."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    found: Counter[int] = Counter()
    for sample in (s for f in families for s in f.samples if s.name == "rerank_requests_total"):
        found[int(sample.labels["status"])] += int(sample.value)
    return +found


@pytest.mark.parametrize("fault", ["poison", "memory"])
def test_a_batch_that_fails_costs_only_the_request_at_fault(server: "Process", fault: str) -> None:
    words = [fault if i % 7 == 0 else "fine" for i in range(140)]
    with server.client() as client:
        wait_for(client, "/readyz", '"ready"')
        bodies = [body(word, i) for i, word in enumerate(words)]
        statuses = Counter(post_all(str(client.base_url), bodies))
        assert statuses == {200: 120, 500: 20}
        assert counted(client) == statuses
        assert client.get("/readyz").status_code == 200


def test_a_model_thread_that_dies_answers_everybody_and_says_so(server: "Process") -> None:
    with server.client() as client:
        wait_for(client, "/readyz", '"ready"')
        bodies = [body("die" if i == 40 else "fine", i) for i in range(140)]
        statuses = Counter(post_all(str(client.base_url), bodies))
        assert set(statuses) == {200, 503}
        assert counted(client) == statuses
        assert client.get("/livez").status_code == 503
        assert client.get("/readyz").json()["status"] == "dead"


def test_clients_that_go_take_nothing_from_the_others(server: "Process") -> None:
    with server.client() as client, ThreadPoolExecutor() as pool:
        wait_for(client, "/readyz", '"ready"')
        held = pool.submit(client.post, "/rerank", json=body("hold", 0))
        server.read_until("holding")
        leaving = [leave(server.port, body("gone", i)) for i in range(20)]
        wait_for(client, "/metrics", "rerank_queue_requests 20.0")
        for each in leaving:
            each.close()
        wait_for(client, "/metrics", "rerank_queue_requests 0.0")
        server.release()
        assert held.result(60).status_code == 200
        assert post_all(str(client.base_url), [body("fine", i) for i in range(40)]) == [200] * 40
        assert counted(client) == {200: 41, 499: 20}
        assert 'rerank_dropped_total{reason="client_gone"} 20.0' in client.get("/metrics").text


def leave(port: int, given: dict[str, Any]) -> socket.socket:
    """A connection with a whole request on it, whose answer nobody will read."""
    content = json.dumps(given).encode()
    head = f"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(head.encode() + content)
    return connection


def test_a_client_that_sends_slowly_is_cut_off_at_its_deadline(start_server: "StartServer") -> None:
    server = start_server(BLOCKRANK_REQUEST_TIMEOUT_MS="200")
    with server.client() as client:
        wait_for(client, "/readyz", '"ready"')
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as slow:
            slow.sendall(b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            assert slow.recv(100).startswith(b"HTTP/1.1 504")
        assert counted(client) == {504: 1}


def test_a_wall_clock_that_jumps_under_load_changes_nothing(server: "Process") -> None:
    words = {40: "later", 80: "earlier"}
    bodies = [body(words.get(i, "fine"), i) for i in range(140)]
    with server.client() as client:
        wait_for(client, "/readyz", '"ready"')
        assert post_all(str(client.base_url), bodies) == [200] * 140
        assert counted(client) == {200: 140}


def test_a_machine_that_was_suspended_under_load_answers_everybody(
    start_server: "StartServer",
) -> None:
    server = start_server(BLOCKRANK_MAX_BATCH_TOKENS="40", BLOCKRANK_REQUEST_TIMEOUT_MS="2000")
    with server.client() as client, ThreadPoolExecutor() as pool:
        wait_for(client, "/readyz", '"ready"')
        load = amid_load(server, client, pool, 2000)
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(3)  # its clocks jump past the deadline of whatever it had accepted
        server.process.send_signal(signal.SIGCONT)
        statuses = Counter(load.result(60))
        assert statuses[200] >= 2000 - 2 * NUM_CLIENTS  # all but those it had at the jump
        assert set(statuses) <= {200, 504}
        assert counted(client) == statuses
        after = [body("after", i) for i in range(140)]
        assert post_all(str(client.base_url), after) == [200] * 140


def test_sigterm_under_load_answers_what_was_accepted(start_server: "StartServer") -> None:
    server = start_server(BLOCKRANK_MAX_BATCH_TOKENS="40")
    with server.client() as client, ThreadPoolExecutor() as pool:
        wait_for(client, "/readyz", '"ready"')
        load = amid_load(server, client, pool, 20_000)
        server.process.send_signal(signal.SIGTERM)
        code, err = server.end()
        statuses = Counter(load.result(60))
    assert (code, err) == (0, "")
    logged = Counter(
        int(line["status"])
        for line in map(json.loads, filter(lambda text: text.startswith("{"), server.lines))
        if line.get("route") == "/rerank"
    )
    assert statuses[200] == logged[200] >= 200
    assert statuses[0] + statuses[200] + statuses[503] == 20_000  # the port was closed to the rest
