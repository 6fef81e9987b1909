"""The service before a server of completions: faults as statuses, readiness, deadlines, secrets."""

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from blockrank_server.service.open_ranker import open_ranker
from blockrank_server.service.settings import Settings
from remote_kit.completions_server import CompletionsServer

if TYPE_CHECKING:
    from tests.remote.conftest import MakeCard, Serve

BODY: dict[str, Any] = {"query": "ice", "documents": ["One.", "Two, then.", "A third of glaciers."]}


def test_scores_are_those_of_the_engine(serve: "Serve", cases: list[dict[str, Any]]) -> None:
    case = cases[0]
    with serve() as client:
        body = {"query": case["query"], "documents": [case["passage"], "One."], "explain": True}
        answer = client.post("/rerank", json=body)
        assert answer.status_code == 200, answer.text
        found = {each["index"]: each for each in answer.json()["results"]}
        want = case["expected"]
        assert found[0]["relevance_score"] == pytest.approx(want["exact"]["score"], abs=1e-5)
        assert found[0]["reasoning"]["text"] == want["chain"]
        info = client.get("/info").json()
    assert (info["engine"], info["readings"], info["device"]) == ("remote", "exact", "remote")
    assert info["request_timeout_ms"] == 120_000


@pytest.mark.parametrize(
    ("status", "given", "answered", "after", "reason"),
    [
        (429, "7", 429, "7", "overloaded"),
        (429, None, 429, "2", "overloaded"),
        (503, "9", 503, "9", "engine"),
        (500, None, 500, None, "inference"),
    ],
)
def test_a_busy_engine_is_passed_on(
    status: int,
    given: str | None,
    answered: int,
    after: str | None,
    reason: str,
    server: CompletionsServer,
    serve: "Serve",
) -> None:
    with serve() as client:
        server.does.status, server.does.retry_after = status, given
        answer = client.post("/rerank", json=BODY)
        assert answer.status_code == answered
        assert answer.headers.get("Retry-After") == after
        assert f'rerank_rejected_total{{reason="{reason}"}} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("fault", "status"), [("die", 503), ("no finish", 503), ("garbage", 500), ("no ids", 500)]
)
def test_a_stream_that_fails_is_one_error(
    fault: Any, status: int, server: CompletionsServer, serve: "Serve"
) -> None:
    with serve() as client:
        server.does.fault, server.does.fault_after = fault, 2
        answer = client.post("/rerank", json=BODY)
        assert answer.status_code == status, answer.text
        assert ("Retry-After" in answer.headers) == (status == 503)
        assert answer.json()["code"] == status
        server.does.fault = None
        while client.get("/readyz").status_code != 200:
            time.sleep(0.01)
        assert client.post("/rerank", json=BODY).status_code == 200


def test_readiness_follows_the_engine(server: CompletionsServer, serve: "Serve") -> None:
    with serve() as client:
        server.does.is_healthy = False
        while (ready := client.get("/readyz")).status_code == 200:
            time.sleep(0.01)
        assert ready.json() == {"status": "unreachable", "reason": "The engine is not healthy"}
        assert ready.headers["Retry-After"] == "2"
        assert client.get("/health").status_code == 200
        assert client.post("/rerank", json=BODY).status_code == 503
        assert "rerank_ready 0.0" in client.get("/metrics").text
        fallback = client.post("/rerank", json=BODY | {"fallback": "input_order"})
        assert [each["index"] for each in fallback.json()["results"]] == [0, 1, 2]
        server.does.is_healthy = True
        while client.get("/readyz").status_code != 200:
            time.sleep(0.01)
        assert client.post("/rerank", json=BODY).status_code == 200


def test_an_engine_that_hangs_has_its_verdicts_forced_in_time(
    server: CompletionsServer, serve: "Serve"
) -> None:
    with serve() as client:
        server.does.fault, server.does.fault_after = "hang", 3
        headers = {"X-Request-Timeout-Ms": "3000"}
        answer = client.post("/rerank", json=BODY | {"explain": True}, headers=headers)
        assert answer.status_code == 200, answer.text
        reasons = [each["reasoning"] for each in answer.json()["results"]]
        assert {(each["ended"], each["read"]) for each in reasons} == {("deadline", "forced")}


def test_an_engine_that_hangs_for_verdicts_too_is_a_missed_deadline(
    server: CompletionsServer, serve: "Serve"
) -> None:
    with serve() as client:
        server.does.fault, server.does.faults_of_forced = "hang", True
        answer = client.post("/rerank", json=BODY, headers={"X-Request-Timeout-Ms": "1500"})
        assert answer.status_code == 504
        while server.num_open:
            time.sleep(0.01)
        server.does.fault = None
        assert client.post("/rerank", json=BODY).status_code == 200


def test_a_short_list_does_not_wait_for_a_long_one(
    server: CompletionsServer, serve: "Serve"
) -> None:
    with serve(max_tokens=900) as client, ThreadPoolExecutor(1) as pool:
        server.does.fault, server.does.fault_after = "hang", 1
        headers = {"X-Request-Timeout-Ms": "20000"}
        long = pool.submit(client.post, "/rerank", json=BODY, headers=headers)
        while server.num_hung < 3:
            time.sleep(0.01)
        server.does.fault = None
        short = client.post("/rerank", json={"query": "ice", "documents": ["One."]})
        assert short.status_code == 200
        assert not long.done()
        assert long.result().status_code == 200


def test_settings_of_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {"api_key": "s3cret", "model": "m", "max_streams": 3}
    for name, value in given.items():
        with pytest.raises(ValidationError, match=f"engine_{name} needs engine_url"):
            Settings(**{f"engine_{name}": value})
    for wrong in ("x", "ftp://x", "http://", "http://user:pass@x", "http://x/?a=b", "http://x y"):
        with pytest.raises(ValidationError, match="engine_url"):
            Settings(engine_url=wrong)
    monkeypatch.setenv("BLOCKRANK_ENGINE_API_KEY", "s3cret")
    settings = Settings(engine_url="http://127.0.0.1:9/v1")
    assert settings.engine_api_key is not None
    assert "s3cret" not in f"{settings!r} {settings.effective()}"


def test_neither_key_nor_chain_is_logged(
    server: CompletionsServer, serve: "Serve", caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    server.does.key = "s3cret"
    with serve(engine_api_key="s3cret", max_tokens=24) as client:
        answer = client.post("/rerank", json=BODY | {"explain": True}).json()
        chains = [each["reasoning"]["text"] for each in answer["results"]]
        server.does.fault, server.does.fault_after = "garbage", 2
        client.post("/rerank", json=BODY)
        shown = caplog.text + "".join(capfd.readouterr()) + client.get("/metrics").text
    assert "the engine has sent an event" in shown
    assert "s3cret" not in shown
    assert not any(chain.strip() in shown for chain in chains if len(chain.strip()) > 12)
    assert json.dumps(BODY["documents"][2]) not in shown


def test_commands_that_open_a_ranker_do_not_wait(fixtures: Path, make_card: "MakeCard") -> None:
    settings = Settings(
        model=str(fixtures / "rank1"), card=str(make_card()), engine_url="http://127.0.0.1:9"
    )
    with pytest.raises(Exception, match="the engine is out of reach"):
        open_ranker(settings)
