"""Streams of events on a real socket: while chains are written, and when a side goes."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from blockrank_server.models.engine.chain_engine import ChainEngine
from blockrank_server.models.errors import DeviceLostError
from remote_kit.completions_server import CompletionsServer
from remote_kit.live import running

BODY: dict[str, Any] = {"query": "ice", "documents": ["One.", "Two, then."], "stream": True}
MakeApp = Callable[..., FastAPI]


@contextmanager
def live(app: FastAPI) -> Iterator[httpx2.Client]:
    with running(app) as url, httpx2.Client(base_url=url, timeout=60) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.01)
        yield client


def names(answer: httpx2.Response) -> Iterator[str]:
    for line in answer.iter_lines():
        if line.startswith("event: "):
            yield line.removeprefix("event: ")


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_texts_come_while_they_are_written_and_end_when_the_client_goes(
    server: CompletionsServer, make_app: MakeApp
) -> None:
    with live(make_app(max_tokens=900)) as client:
        server.does.fault, server.does.fault_after = "hang", 5
        with client.stream("POST", "/rerank", json=BODY) as answer:
            told = names(answer)  # held: a generator that is let go closes the answer
            assert next(told) == "delta"
            wait_for(lambda: server.num_hung == 2)
            assert server.num_open == 2
        wait_for(lambda: server.num_open == 0)
        gone = 'rerank_requests_total{dialect="cohere",status="499"} 1.0'
        wait_for(lambda: gone in client.get("/metrics").text)
        assert 'rerank_dropped_total{reason="client_gone"} 1.0' in client.get("/metrics").text
        server.does.fault = None
        assert client.post("/rerank", json=BODY | {"stream": False}).status_code == 200


@pytest.mark.parametrize("is_local", [False, True], ids=["remote", "local"])
def test_a_shutdown_forces_verdicts_and_every_stream_ends_with_its_answer(
    is_local: bool, server: CompletionsServer, make_app: MakeApp
) -> None:
    server.does.step_s = 0.02
    begun = threading.Event()

    def ask(client: httpx2.Client) -> list[str]:
        told = []
        with client.stream("POST", "/rerank", json=BODY | {"documents": ["x"] * 40}) as answer:
            for name in names(answer):
                begun.set()
                told.append(name)
        return told

    app = make_app(max_tokens=900, is_local=is_local, drain_timeout_s=3)
    with ThreadPoolExecutor(1) as pool:
        with live(app) as client:
            server.does.fault, server.does.fault_after = "hang", 30
            asked = pool.submit(ask, client)
            assert begun.wait(30)
            app.state.worker.drain()
            told = asked.result(30)
        assert told[-1] == "done"
        assert told.count("scored") == 40


def test_a_model_whose_thread_dies_is_the_last_event(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = ChainEngine.finish

    def die(self: ChainEngine, chains: Any, between_steps: Any = None) -> None:
        def lose() -> None:
            if any(each.ids for each in chains):
                time.sleep(0.2)  # for the text to be sent
                raise DeviceLostError("the device failed")

        finish(self, chains, None if between_steps is None else lose)

    with live(make_app(max_tokens=900, is_local=True)) as client:
        monkeypatch.setattr(ChainEngine, "finish", die)
        with client.stream("POST", "/rerank", json=BODY) as answer:
            assert answer.status_code == 200
            told = list(names(answer))
        assert told[0] == "delta"
        assert told[-1] == "error"
        assert client.get("/health").status_code == 503
