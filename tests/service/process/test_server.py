"""A real process: port, signals, exit codes. The fake ranker holds when it is asked to."""

import json
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from tests.service.process.conftest import Process, StartServer

HOLD = {"query": "hold", "texts": ["a", "b"]}
BODY = {"query": "b", "texts": ["a", "b"]}


@pytest.fixture
def server(start_server: "StartServer") -> "Process":
    return start_server()


def wait_for(client: httpx.Client, path: str, text: str) -> None:
    while text not in client.get(path).text:
        pass


def test_sigterm_answers_every_accepted_request_and_exits_with_0(server: "Process") -> None:
    with server.client() as client, ThreadPoolExecutor() as pool:
        wait_for(client, "/readyz", '"ready"')
        held = pool.submit(client.post, "/rerank", json=HOLD)
        server.read_until("holding")
        bodies = [BODY | {"query": query} for query in ("b", "b b", "b b b")]
        queued = [pool.submit(client.post, "/rerank", json=body) for body in bodies]
        wait_for(client, "/metrics", "rerank_queue_requests 3.0")
        server.process.send_signal(signal.SIGTERM)
        server.read_until("Waiting for connections to close")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=60)
        server.release()
        answers = [future.result(60) for future in (held, *queued)]
    assert [answer.status_code for answer in answers] == [200] * 4
    # Else a client would send its next request on a connection that is being closed.
    assert [answer.headers.get("Connection") for answer in answers] == ["close"] * 4
    assert [item["index"] for item in answers[1].json()] == [1, 0]
    assert server.end() == (0, "")


def test_sigterm_while_idle_exits_with_0(server: "Process") -> None:
    with server.client() as client:
        wait_for(client, "/readyz", '"ready"')
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == (0, "")


def test_sigterm_while_loading_does_not_wait_for_the_load(start_server: "StartServer") -> None:
    server = start_server(BLOCKRANK_MODEL="slow")
    with server.client() as client:
        assert client.get("/health").status_code == 200
        assert client.get("/readyz").status_code == 503
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == (0, "")


def test_a_model_that_hangs_is_left_after_the_drain_timeout(start_server: "StartServer") -> None:
    server = start_server(BLOCKRANK_DRAIN_TIMEOUT_S="1")
    with server.client() as client, ThreadPoolExecutor() as pool:
        wait_for(client, "/readyz", '"ready"')
        held = pool.submit(client.post, "/rerank", json=HOLD)
        server.read_until("holding")
        server.process.send_signal(signal.SIGTERM)
        code, err = server.end()
        answer = held.result(60)
        with pytest.raises(httpx.HTTPError):
            answer.raise_for_status()
    assert (answer.status_code, answer.json()["code"]) == (503, 503)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert code == 1
    assert err == "error: requests were not answered within drain_timeout_s\n"


def test_a_client_that_goes_frees_its_place_in_the_queue(server: "Process") -> None:
    with server.client() as client, ThreadPoolExecutor() as pool:
        wait_for(client, "/readyz", '"ready"')
        held = pool.submit(client.post, "/rerank", json=HOLD)
        server.read_until("holding")
        raw = json.dumps(BODY)
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as leaver:
            head = f"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n"
            leaver.sendall((head + raw).encode())
            wait_for(client, "/metrics", "rerank_queue_requests 1.0")
        wait_for(client, "/metrics", "rerank_queue_requests 0.0")
        server.release()
        assert held.result(60).status_code == 200
        wait_for(client, "/metrics", 'rerank_requests_total{dialect="tei",status="499"} 1.0')


def test_a_model_that_cannot_be_loaded_ends_the_process(start_server: "StartServer") -> None:
    server = start_server(BLOCKRANK_MODEL="broken")
    code, err = server.end()
    assert code == 1
    assert err == "error: cannot load model broken: a tensor is missing\n"


def test_a_port_in_use_ends_the_process_before_the_model_loads(
    start_server: "StartServer",
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        # A model that is waited for at standard input, had it been begun.
        server = start_server(BLOCKRANK_PORT=port, BLOCKRANK_MODEL="slow")
        code, err = server.end()
    reason = "Address already in use; port 0 picks a free one"
    assert (code, err) == (1, f"error: cannot listen on 127.0.0.1:{port}: {reason}\n")
    assert server.lines == []


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_here_ends_the_process(start_server: "StartServer", host: str) -> None:
    server = start_server(BLOCKRANK_HOST=host)
    code, err = server.end()
    assert code == 1
    assert err.startswith(f"error: cannot listen on {host}:0: ")
    assert err.count("\n") == 1
    assert server.lines == []


def test_a_name_is_listened_to_on_its_addresses(start_server: "StartServer") -> None:
    server = start_server(BLOCKRANK_HOST="localhost")
    with server.client() as client:
        wait_for(client, "/readyz", '"ready"')
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == (0, "")


def test_logs_are_json_lines_with_the_settings_first(server: "Process") -> None:
    with server.client() as client:
        wait_for(client, "/readyz", '"ready"')
        client.post("/rerank", json=BODY, headers={"X-Request-ID": "mine"})
        line: dict[str, Any] = json.loads(server.read_until('"mine"'))
        server.process.send_signal(signal.SIGTERM)
        server.end()
    read = [json.loads(each) for each in server.lines]
    settings = next(each for each in read if each["event"] == "settings")
    assert settings["max_batch_tokens"] == 16_384
    assert {"event", "level", "timestamp"} <= set(line)
    assert (line["route"], line["status"], line["num_documents"]) == ("/rerank", 200, 2)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--model", "/nowhere/at/all"], "model '/nowhere/at/all' is no folder"),
        (["--card", "/nowhere/card.json"], "card '/nowhere/card.json' is neither a file nor one"),
        (["--device", "cuda:4095"], "device 'cuda:4095': "),
        (["--dtype", "float16"], "'auto', 'float32', 'bfloat16'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_served_ends_the_process_before_anything_is_logged(
    start_server: "StartServer", flags: list[str], reason: str
) -> None:
    command = Path(sys.executable).with_name("blockrank-server")
    server = start_server(str(command), "serve", *flags)
    code, err = server.end()
    assert code == 2
    assert err.startswith("error: ")
    assert reason in err
    assert err.count("\n") == 1
    assert server.lines == []
