"""Chains as events: by both engines, what they hold, and how a stream ends."""

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from blockrank_server.service.api import event_stream
from remote_kit.completions_server import CompletionsServer

if TYPE_CHECKING:
    from tests.remote.conftest import Serve

DOCUMENTS = ["One.", "", "Two, then.", "A third one of glaciers."]
BODY: dict[str, Any] = {"query": "ice", "documents": DOCUMENTS, "stream": True}
Event = tuple[str, dict[str, Any]]


def read(lines: Iterator[str]) -> Iterator[Event]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
        else:
            assert not line or line == ": keep-alive"


def streamed(client: TestClient, body: dict[str, Any], **headers: str) -> list[Event]:
    with client.stream("POST", "/rerank", json=body, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        return list(read(answer.iter_lines()))


@pytest.mark.parametrize("is_local", [False, True], ids=["remote", "local"])
def test_texts_come_before_scores_and_scores_before_the_answer(
    is_local: bool, serve: "Serve", cases: list[dict[str, Any]]
) -> None:
    documents = [case["passage"] for case in cases] + DOCUMENTS
    body = {"query": "capital of the mountain province", "documents": documents, "explain": True}
    with serve(is_local=is_local) as client:
        events = streamed(client, body | {"stream": True})
        plain = client.post("/rerank", json=body).json()
    names = [name for name, _ in events]
    assert names.count("done") == 1
    assert names[-1] == "done"
    assert set(names) == {"delta", "scored", "done"}
    texts, scores = dict[int, str](), dict[int, Any]()
    for name, told in events[:-1]:
        if name == "delta":
            assert told["index"] not in scores
            assert told["text"]
            texts[told["index"]] = texts.get(told["index"], "") + told["text"]
        else:
            scores[told["index"]] = told
    answer = events[-1][1]
    assert answer["results"] == plain["results"]
    blank = documents.index("")
    assert set(scores) == set(range(len(documents))) - {blank}
    for result in answer["results"]:
        if (index := result["index"]) != blank:
            assert texts.get(index, "") == result["reasoning"]["text"]
            assert scores[index]["score"] == result["relevance_score"]
            assert scores[index]["ended"] == result["reasoning"]["ended"]
            assert scores[index]["read"] == result["reasoning"]["read"]


def test_a_text_comes_while_it_is_written(server: CompletionsServer, serve: "Serve") -> None:
    with serve(max_tokens=900) as client:
        server.does.fault, server.does.fault_after = "hang", 5
        events = streamed(client, BODY, **{"X-Request-Timeout-Ms": "3000"})
    assert [name for name, _ in events][-4:] == ["scored", "scored", "scored", "done"]
    assert {told["ended"] for name, told in events if name == "scored"} == {"deadline"}
    assert sum(name == "delta" for name, _ in events) > 6


def test_scores_are_of_the_type_that_is_asked_for(serve: "Serve") -> None:
    with serve() as client:
        events = streamed(client, BODY | {"score_type": "logit", "top_n": 1})
    scores = {told["index"]: told["score"] for name, told in events if name == "scored"}
    [best] = events[-1][1]["results"]
    assert scores[best["index"]] == best["relevance_score"]
    assert any(not 0 <= score <= 1 for score in scores.values())


@pytest.mark.parametrize(
    ("change", "status"),
    [({"query": ""}, 400), ({"documents": []}, 400), ({"top_n": "x"}, 422), ({"stream": 3}, 422)],
)
def test_what_is_wrong_with_a_body_is_a_status(
    change: dict[str, Any], status: int, serve: "Serve"
) -> None:
    with serve() as client:
        answer = client.post("/rerank", json=BODY | change)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/json"


def test_fallback_does_not_go_with_stream(serve: "Serve") -> None:
    with serve() as client:
        answer = client.post("/rerank", json=BODY | {"fallback": "input_order"})
    assert answer.status_code == 422
    assert answer.json()["param"] == "fallback"


def test_another_dialect_ignores_it_with_a_warning(serve: "Serve") -> None:
    with serve() as client:
        body = {"query": "ice", "texts": ["One."], "stream": True}
        answer = client.post("/rerank", json=body)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert "stream is ignored" in answer.headers["X-Rerank-Warning"]


def test_a_failure_before_the_first_event_is_a_status(
    server: CompletionsServer, serve: "Serve"
) -> None:
    with serve() as client:
        server.does.status, server.does.retry_after = 429, "7"
        answer = client.post("/rerank", json=BODY)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")


@pytest.mark.parametrize(
    ("fault", "status", "reason"), [("die", 503, "engine"), ("garbage", 500, "inference")]
)
def test_a_failure_after_it_is_the_last_event(
    fault: Any, status: int, reason: str, server: CompletionsServer, serve: "Serve"
) -> None:
    with serve(max_tokens=900) as client:
        server.does.fault, server.does.fault_after, server.does.step_s = fault, 20, 0.02
        events = streamed(client, BODY)
        metrics = client.get("/metrics").text
    assert [name for name, _ in events].count("error") == 1
    name, error = events[-1]
    assert (name, error["code"]) == ("error", status)
    assert error["request_id"]
    assert f'rerank_requests_total{{dialect="cohere",status="{status}"}} 1.0' in metrics
    assert f'rerank_rejected_total{{reason="{reason}"}} 1.0' in metrics


def test_a_missed_deadline_is_the_last_event(server: CompletionsServer, serve: "Serve") -> None:
    with serve(max_tokens=900) as client:
        server.does.fault, server.does.fault_after = "hang", 3
        server.does.faults_of_forced = True
        server.does.step_s = 0.01
        with client.stream(
            "POST", "/rerank", json=BODY, headers={"X-Request-Timeout-Ms": "2000"}
        ) as answer:
            events = []
            for event in read(answer.iter_lines()):
                events.append(event)
                server.does.fault_after = 0  # of the forced verdicts
        while server.num_open:
            time.sleep(0.01)
    assert (events[-1][0], events[-1][1]["code"]) == ("error", 504)


def test_silence_is_broken(
    server: CompletionsServer, serve: "Serve", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_S", 0.1)
    with serve() as client:
        server.does.fault = "hang"
        headers = {"X-Request-Timeout-Ms": "2000"}
        with client.stream("POST", "/rerank", json=BODY, headers=headers) as answer:
            lines = list(answer.iter_lines())
    assert lines.count(": keep-alive") >= 3
    assert [name for name, _ in read(iter(lines))] == ["scored", "scored", "scored", "done"]


def test_neither_engine_streams_what_nobody_asked_for(serve: "Serve") -> None:
    with serve() as client:
        answer = client.post("/rerank", json=BODY | {"stream": False})
    assert answer.headers["Content-Type"] == "application/json"
    assert len(answer.json()["results"]) == 4
