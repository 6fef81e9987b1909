"""Servers that share a store of documents are killed while they write, and damage is done to it.

Whatever happens, each answer is right, and what one has computed the next one knows.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import torch

from blockrank_server.models.ranker import Ranker

if TYPE_CHECKING:
    from tests.service.process.conftest import Process, StartServer

COMMAND = Path(sys.executable).with_name("blockrank-server")
TEXTS = [f"a river, a bank and stone {i}" for i in range(150)]
QUERY = "money"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def start(
    start_server: "StartServer", fixtures: Path, keeping_card: Path, store: Path
) -> "Callable[[], Process]":
    def start_() -> "Process":
        return start_server(
            str(COMMAND),
            "serve",
            BLOCKRANK_MODEL=str(fixtures / "blockrank"),
            BLOCKRANK_CARD=str(keeping_card),
            BLOCKRANK_DEVICE="cpu",
            BLOCKRANK_DTYPE="float32",
            BLOCKRANK_NUM_TORCH_THREADS="1",
            BLOCKRANK_DOCUMENT_CACHE_BYTES="300000",
            BLOCKRANK_DOCUMENT_STORE=str(store),
        )

    return start_


@pytest.fixture
def right(fixtures: Path, keeping_card: Path) -> Iterator[Callable[[list[str]], list[float]]]:
    ranker = Ranker.open(fixtures / "blockrank", card=keeping_card, device="cpu")
    # Threads that wait for each other on a busy machine's cores make this model 100 times slower.
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield lambda asked: ranker.rank(QUERY, asked)
    torch.set_num_threads(num_threads)


def lists(seed: int, number: int) -> list[list[str]]:
    chosen = random.Random(seed)
    return [chosen.sample(TEXTS, 6) for _ in range(number)]


@contextmanager
def ready(server: "Process") -> Iterator[httpx.Client]:
    with server.client() as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        yield client


def scores(client: httpx.Client, asked: list[str]) -> list[float] | None:
    """Return the scores in the order of the documents; None if the server is gone."""
    body = {"query": QUERY, "documents": asked, "raw_scores": True}
    try:
        answer = client.post("/rerank", json=body)
    except httpx.TransportError:
        return None
    assert answer.status_code == 200, answer.text
    found = {each["index"]: each["relevance_score"] for each in answer.json()["results"]}
    return [found[i] for i in range(len(asked))]


def damage(store: Path) -> None:
    """Flip a bit in one file of three, and cut another one short."""
    for place, path in enumerate(sorted(store.glob("*/*/*"))):
        if place % 3 == 1:
            raw = bytearray(path.read_bytes())
            raw[place % len(raw)] ^= 4
            path.write_bytes(raw)
        elif place % 3 == 2:
            os.truncate(path, place % path.stat().st_size)


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(name)).rpartition(" ")[2])


def test_killed_servers_leave_nothing_wrong(
    start: "Callable[[], Process]", right: Callable[[list[str]], list[float]], store: Path
) -> None:
    for seed in range(3):
        server = start()
        with ready(server) as client, ThreadPoolExecutor(4) as threads:
            asked = lists(seed, 150)
            answers = threads.map(lambda each, client=client: scores(client, each), asked)
            for number, (each, found) in enumerate(zip(asked, answers, strict=True)):
                if found is not None:
                    assert found == pytest.approx(right(each), abs=1e-5)
                if number == 30 + 20 * seed:
                    server.process.kill()
        server.process.wait(60)
        if seed == 1:
            damage(store)
    server = start()
    with ready(server) as client:
        for each in lists(9, 30):
            assert scores(client, each) == pytest.approx(right(each), abs=1e-5)
        assert metric(client, "rerank_document_store_hits_total") > 10
        assert metric(client, 'rerank_document_store_failures_total{kind="write"}') == 0
        server.process.send_signal(signal.SIGTERM)
    assert server.end() == (0, "")


def test_two_servers_share_a_folder(
    start: "Callable[[], Process]", right: Callable[[list[str]], list[float]]
) -> None:
    asked = lists(5, 30)
    expected = [pytest.approx(right(each), abs=1e-5) for each in asked]
    first, second = start(), start()
    with ready(first) as one, ready(second) as other, ThreadPoolExecutor(2) as threads:
        for client in (one, other):
            found = list(threads.map(lambda each, client=client: scores(client, each), asked))
            assert found == expected
        assert metric(other, "rerank_document_store_hits_total") > 20
        for server in (first, second):
            server.process.send_signal(signal.SIGTERM)
    assert [server.end() for server in (first, second)] == [(0, ""), (0, "")]
