"""POST /rerank under load, past its limits and when something breaks."""

import asyncio
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from blockrank_server.service.api.app import create_app
from blockrank_server.service.scheduler.model_worker import ModelWorker
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.ranker import Ranker
    from tests.service.conftest import FakeRanker, Gate, MakeClient

QUERY = "capital of France"
DOCUMENTS = ["Berlin in Germany", "Paris capital of France", "of course"]
COHERE = {"query": QUERY, "documents": DOCUMENTS}
TEI = {"query": QUERY, "texts": DOCUMENTS}
OTHER = COHERE | {"query": "another"}
BODIES = pytest.mark.parametrize("body", [COHERE, TEI], ids=["cohere", "tei"])


def test_a_body_over_the_limit(make_client: "MakeClient") -> None:
    raw = orjson.dumps(COHERE)
    with make_client(max_body_bytes=len(raw)) as client:
        assert client.post("/rerank", content=raw).status_code == 200
        declared = client.post("/rerank", content=raw + b" ")
        chunked = client.post("/rerank", content=iter([raw, b" "]))
        assert "content-length" not in chunked.request.headers
    for response in (declared, chunked):
        assert response.status_code == 413
        assert str(len(raw)) in response.json()["detail"]


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "", "9" * 40])
def test_a_bad_deadline_is_refused(client: TestClient, value: str) -> None:
    response = client.post("/rerank", json=COHERE, headers={"X-Request-Timeout-Ms": value})
    assert (response.status_code, response.json()["param"]) == (422, "X-Request-Timeout-Ms")


def test_a_deadline_cannot_be_raised(make_client: "MakeClient", gate: "Gate") -> None:
    with make_client(gate.ranker(), request_timeout_ms=1) as client:
        response = client.post("/rerank", json=COHERE, headers={"X-Request-Timeout-Ms": "60000"})
        assert response.status_code == 504
        assert response.json()["error_type"] == "Timeout"
        assert "1 ms" in response.json()["error"]
        gate.opened.set()


def test_a_request_past_its_deadline_leaves(make_client: "MakeClient", gate: "Gate") -> None:
    ranker = gate.ranker()
    late = {"X-Request-Timeout-Ms": "1"}
    with make_client(ranker) as client, ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, "/rerank", json=COHERE)
        assert gate.entered.wait(60)
        assert client.post("/rerank", json=OTHER, headers=late).status_code == 504
        assert "rerank_queue_requests 0.0" in client.get("/metrics").text
        gate.opened.set()
        assert first.result(60).status_code == 200
    assert ranker.batches == [1]


def test_a_full_queue_answers_429_at_once(make_client: "MakeClient", gate: "Gate") -> None:
    with make_client(gate.ranker(), max_queue_requests=1) as client, ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, "/rerank", json=COHERE)
        assert gate.entered.wait(60)
        second = pool.submit(client.post, "/rerank", json=OTHER)
        while "rerank_queue_requests 1.0" not in client.get("/metrics").text:
            pass
        third = client.post("/rerank", json=TEI | {"texts": "not even a list"})
        gate.opened.set()
        assert (first.result(60).status_code, second.result(60).status_code) == (200, 200)
    assert third.status_code == 429
    assert third.json()["error"] == "Model is overloaded"
    assert int(third.headers["retry-after"]) >= 1


@BODIES
def test_a_request_larger_than_the_queue(make_client: "MakeClient", body: Any) -> None:
    field = "texts" if "texts" in body else "documents"
    with make_client(max_queue_tokens=11) as client:
        response = client.post("/rerank", json=body)
    assert response.status_code == 422
    assert response.json()["error"].startswith(f"{field} and query have 12 tokens, the limit is 11")
    assert response.json()["param"] == field


@pytest.mark.parametrize(("body", "status"), [(COHERE, 500), (TEI, 424)], ids=["cohere", "tei"])
def test_a_failing_model(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]", body: Any, status: int
) -> None:
    def fail(batch: Any) -> None:
        raise RuntimeError("secret")

    with make_client(fake_ranker(before_score=fail)) as client:
        response = client.post("/rerank", json=body)
        assert client.get("/readyz").status_code == 200
    assert response.status_code == status
    assert response.json()["error_type"] == "Backend"
    assert "secret" not in response.text


def test_a_fault_of_ours_keeps_the_form_of_errors(
    make_client: "MakeClient", fake_ranker: "type[FakeRanker]", monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = fake_ranker()
    monkeypatch.setattr(ranker, "encode", lambda *_, **__: 1 / 0)
    with make_client(ranker) as client:
        response = client.post("/rerank", json=COHERE, headers={"X-Request-ID": "mine"})
    assert response.status_code == 500
    assert response.json()["request_id"] == response.headers["x-request-id"] == "mine"
    assert response.json()["error"] == "Internal error"


class Caller:
    """A client of the bare ASGI application, which can go at any time."""

    def __init__(self, body: Any) -> None:
        self.has_left = asyncio.Event()
        self.status = 0
        self._body = [orjson.dumps(body)]

    async def call(self, app: FastAPI) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": "/rerank",
            "raw_path": b"/rerank",
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [],
        }
        await app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self._body:
            return {"type": "http.request", "body": self._body.pop(), "more_body": False}
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.status = message.get("status", self.status)


async def until(is_done: Callable[[], bool]) -> None:
    while not is_done():
        await asyncio.sleep(0)


def test_a_client_that_goes_takes_its_request_back(settings: Settings, gate: "Gate") -> None:
    ranker = gate.ranker()
    app = create_app(settings, open_ranker=lambda _: cast("Ranker", ranker))
    worker: ModelWorker = app.state.worker
    stays, leaves = Caller(COHERE), Caller(OTHER)

    async def main() -> None:
        async with app.router.lifespan_context(app):
            await until(lambda: worker.refusal() is None)
            first = asyncio.create_task(stays.call(app))
            await until(gate.entered.is_set)
            second = asyncio.create_task(leaves.call(app))
            await until(lambda: worker._batcher.num_requests == 1)
            leaves.has_left.set()
            await second
            await until(lambda: worker._batcher.num_requests == 0)
            gate.opened.set()
            await first

    asyncio.run(asyncio.wait_for(main(), 60))
    assert (stays.status, leaves.status) == (200, 499)
    assert ranker.batches == [1]
