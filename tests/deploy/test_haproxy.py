"""deploy/haproxy/haproxy.cfg on a real HAProxy, before two real server processes."""

import re
import runpy
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy_kit.processes import binary

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
Process = runpy.run_path(str(ROOT / "tests" / "service" / "process" / "conftest.py"))["Process"]
NUM_REQUESTS = 150

pytestmark = pytest.mark.haproxy


class Balanced:
    """Two servers and a client of the HAProxy before them."""

    def __init__(self, servers: list[Any], client: httpx.Client) -> None:
        self.servers, self.client = servers, client

    def post(self, query: str) -> httpx.Response:
        body = {"query": query, "texts": ["capital of France", "bread"]}
        return self.client.post("/rerank", json=body)

    def counted(self, server: Any) -> int:
        """Requests that one server has answered with 200."""
        text = httpx.get(f"http://127.0.0.1:{server.port}/metrics").text
        found = re.findall(r'^rerank_requests_total{.*status="200".*} (\S+)', text, re.M)
        return sum(int(float(value)) for value in found)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def configured(servers: list[Any], port: int) -> str:
    text = CONFIG.read_text(encoding="utf-8")
    changes = {
        "bind :8000": f"bind 127.0.0.1:{port}",
        "127.0.0.1:8001": f"127.0.0.1:{servers[0].port}",
        "127.0.0.1:8002": f"127.0.0.1:{servers[1].port}",
        "127.0.0.1:8405": f"127.0.0.1:{free_port()}",
    }
    for ours, theirs in changes.items():
        assert ours in text
        text = text.replace(ours, theirs)
    return text


@contextmanager
def haproxy(servers: list[Any], folder: Path) -> Iterator[httpx.Client]:
    port = free_port()
    path = folder / "haproxy.cfg"
    path.write_text(configured(servers, port), encoding="utf-8")
    with (
        subprocess.Popen([binary("haproxy"), "-db", "-f", str(path)]) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        try:
            while not _answers(client):
                assert process.poll() is None
            yield client
        finally:
            process.terminate()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def balanced(tmp_path: Path) -> Iterator[Balanced]:
    servers = [Process(), Process()]
    try:
        for server in servers:
            with server.client() as client:
                while not client.get("/health/ready").is_success:
                    pass
        with haproxy(servers, tmp_path) as client:
            yield Balanced(servers, client)
    finally:
        for server in servers:
            server.close()


def test_the_configuration_is_valid() -> None:
    checked = subprocess.run(
        [binary("haproxy"), "-c", "-f", str(CONFIG)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr


def test_both_servers_get_requests(balanced: Balanced) -> None:
    for number in range(20):
        assert balanced.post(f"capital {number}").status_code == 200
    shares = [balanced.counted(server) for server in balanced.servers]
    assert sum(shares) == 20
    assert min(shares) >= 5


def test_a_request_whose_server_is_killed_is_answered_by_the_other(balanced: Balanced) -> None:
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(balanced.post, "hold")
        while not (held := [s for s in balanced.servers if "holding\n" in s.lines]):
            assert not answer.done()
        [other] = [server for server in balanced.servers if server not in held]
        held[0].process.kill()
        other.read_until("holding")
        other.release()
        assert answer.result().status_code == 200


def test_a_server_that_stops_under_load_costs_no_request(balanced: Balanced) -> None:
    under_way = threading.Semaphore(0)

    def ask(number: int) -> int:
        status = balanced.post(f"capital {number}").status_code
        under_way.release()
        return status

    with ThreadPoolExecutor(8) as pool:
        statuses = [pool.submit(ask, number) for number in range(NUM_REQUESTS)]
        for _ in range(NUM_REQUESTS // 5):
            under_way.acquire()
        balanced.servers[0].process.terminate()
        assert {status.result() for status in statuses} == {200}
    assert balanced.servers[0].end()[0] == 0
