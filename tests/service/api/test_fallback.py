"""The order that was given, where ranking fails and the caller asked for that."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from blockrank_server.service.dialects.base import Dialect
from blockrank_server.service.dialects.registry import DIALECTS

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker, Gate, MakeClient

BODY = {"query": "a b", "documents": ["a", "b", "", "c"], "fallback": "input_order"}


def drain(client: TestClient) -> None:
    client.app.state.worker.drain()  # type: ignore[attr-defined]


def assert_is_input_order(answer: Any, reason: str, indices: list[int]) -> None:
    assert answer.status_code == 200
    assert answer.headers["X-Score-Type"] == "none"
    assert answer.headers["X-Rerank-Warning"].startswith(f"not ranked, in input order: {reason}")
    body = answer.json()
    assert [(r["index"], r["relevance_score"]) for r in body["results"]] == [
        (i, 0.0) for i in indices
    ]
    assert body["meta"]["warnings"] == [answer.headers["X-Rerank-Warning"]]
    assert body["model"] == "none"


def test_a_full_queue_a_late_answer_and_an_end(make_client: "MakeClient", gate: "Gate") -> None:
    with make_client(gate.ranker(), max_queue_requests=1) as client, ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, "/rerank", json=BODY | {"query": "first"})
        assert gate.entered.wait(60)
        late = client.post("/rerank", json=BODY, headers={"X-Request-Timeout-Ms": "50"})
        assert_is_input_order(late, "No answer within 50 ms", [0, 1, 2, 3])
        second = pool.submit(client.post, "/rerank", json=BODY | {"query": "second"})
        while "rerank_queue_requests 1.0" not in client.get("/metrics").text:
            pass
        busy = client.post("/rerank", json=BODY | {"top_n": 2, "min_score": 0.5})
        assert_is_input_order(busy, "Model is overloaded", [0, 1])
        assert int(busy.headers["Retry-After"]) >= 1
        assert client.post("/rerank", json=BODY | {"fallback": None}).status_code == 429
        gate.opened.set()
        assert [each.result(60).headers["X-Score-Type"] for each in (first, second)] == 2 * [
            "share"
        ]
        drain(client)
        assert_is_input_order(client.post("/rerank", json=BODY), "", [0, 1, 2, 3])
        counted = client.get("/metrics").text
    for status in (429, 503, 504):
        assert f'rerank_requests_total{{dialect="cohere",status="{status}"}}' in counted
    assert 'rerank_rejected_total{reason="draining"} 1.0' in counted


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_every_dialect_has_it(dialect: type[Dialect], client: TestClient) -> None:
    drain(client)
    body = dialect.example | {"fallback": "input_order"}
    answer = client.request(dialect.methods[0], dialect.path, json=body)
    assert (answer.status_code, answer.headers["X-Score-Type"]) == (200, "none")
    without = client.request(dialect.methods[0], dialect.path, json=dialect.example)
    assert without.status_code == 503


@pytest.mark.parametrize(
    "body",
    [
        {"query": "a", "documents": "b", "fallback": "input_order"},
        {"query": "a", "documents": ["b"], "note": "input_order"},
        {"query": "a", "documents": ["b"], "fallback": "input_order", "top_n": -1},
    ],
)
def test_a_body_that_cannot_be_read_or_does_not_ask_gets_the_error(
    body: dict[str, Any], client: TestClient
) -> None:
    drain(client)
    assert client.post("/rerank", json=body).status_code == 503


def test_what_another_try_would_not_mend_stays_an_error(
    client: TestClient, make_client: "MakeClient", fake_ranker: "type[FakeRanker]"
) -> None:
    assert client.post("/rerank", json=BODY | {"query": ""}).status_code == 400
    assert client.post("/rerank", json=BODY | {"fallback": "random"}).status_code == 422

    def fail(batch: Any) -> None:
        raise RuntimeError("a fault")

    with make_client(fake_ranker(before_score=fail)) as failing:
        assert failing.post("/rerank", json=BODY).status_code == 500
