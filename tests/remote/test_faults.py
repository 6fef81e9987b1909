"""Every fault of a server of completions: each request gets one answer or one error, in time."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from blockrank_server.models.errors import AbandonedError, EngineError, EngineUnavailableError
from blockrank_server.models.prompt.request import Document
from blockrank_server.models.reasoning.chain import End, Reading
from blockrank_server.models.reasoning_ranker import chains_of
from remote_kit.completions_server import CompletionsServer

if TYPE_CHECKING:
    from tests.remote.conftest import Connect

DOCUMENTS: list[Document] = ["One.", "Two, then.", "A third one of glaciers."]


def wait_for(condition: Any) -> None:
    end_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


FAULTS: dict[str, tuple[type[EngineError], str]] = {
    "die": (EngineUnavailableError, "out of reach"),
    "no finish": (EngineUnavailableError, "broken off a stream"),
    "error event": (EngineUnavailableError, "the engine answers 503"),
    "garbage": (EngineError, "an event that is no completion"),
    "no ids": (EngineError, "does not tell the id"),
}


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize(("fault", "error"), FAULTS.items(), ids=list(FAULTS))
def test_a_stream_that_fails(
    fault: Any,
    error: tuple[type[EngineError], str],
    after: int,
    server: CompletionsServer,
    connect: "Connect",
) -> None:
    ranker = connect()
    server.does.fault, server.does.fault_after = fault, after
    with pytest.raises(error[0], match=error[1]) as caught:
        ranker.rank("ice", DOCUMENTS)
    assert type(caught.value) is error[0]
    wait_for(lambda: server.num_open == 0)
    server.does.fault = None
    assert len(ranker.rank("ice", DOCUMENTS)) == 3


@pytest.mark.parametrize(
    ("status", "retry_after", "is_busy"), [(429, "7", True), (503, None, False), (502, "3", False)]
)
def test_a_server_that_is_too_busy_or_not_ready(
    status: int,
    retry_after: str | None,
    is_busy: bool,
    server: CompletionsServer,
    connect: "Connect",
) -> None:
    ranker = connect()
    server.does.status, server.does.retry_after = status, retry_after
    with pytest.raises(EngineUnavailableError, match=str(status)) as caught:
        ranker.rank("ice", DOCUMENTS)
    assert caught.value.is_busy is is_busy
    assert ranker.fault is None  # the next request may be luckier
    assert caught.value.retry_after_s == (None if retry_after is None else float(retry_after))


def test_a_forced_verdict_that_fails(server: CompletionsServer, connect: "Connect") -> None:
    ranker = connect(max_tokens=1)
    server.does.fault, server.does.faults_of_forced = "no finish", True
    server.does.fault_after = 1
    assert ranker.rank("ice", DOCUMENTS)
    server.does.fault_after = 0
    with pytest.raises(EngineError):
        ranker.rank("ice", DOCUMENTS)


def test_a_server_that_hangs_has_its_verdicts_forced_before_the_deadline(
    server: CompletionsServer, connect: "Connect"
) -> None:
    ranker = connect(max_streams=2)
    server.does.fault, server.does.fault_after = "hang", 3
    request = ranker.encode("ice", DOCUMENTS)
    request.caller.deadline_s = time.monotonic() + 2.0
    [scores] = ranker.score([request])
    assert time.monotonic() < request.caller.deadline_s
    assert all(0 < score < 1 for score in scores)
    assert [each.end for each in request.reasoned] == [End.DEADLINE] * 3
    assert [each.reading for each in request.reasoned] == [Reading.FORCED] * 3
    assert sorted(each.num_tokens for each in request.reasoned) == [0, 3, 3]
    wait_for(lambda: server.num_open == 0)


def test_a_deadline_that_has_passed_forces_verdicts_without_a_chain(connect: "Connect") -> None:
    ranker = connect()
    request = ranker.encode("ice", DOCUMENTS)
    request.caller.deadline_s = time.monotonic()
    [scores] = ranker.score([request])
    assert all(0 < score < 1 for score in scores)
    assert {each.reading for each in request.reasoned} == {Reading.FORCED}


def test_the_streams_of_a_caller_who_has_gone_are_closed(
    server: CompletionsServer, connect: "Connect"
) -> None:
    ranker = connect(max_tokens=900)
    server.does.fault = "hang"
    gone = threading.Event()
    request = ranker.encode("ice", DOCUMENTS)
    request.caller.is_gone = gone.is_set
    pending = ranker.start([request])
    wait_for(lambda: server.num_open == 3)
    gone.set()
    with pytest.raises(AbandonedError):
        pending.result()
    wait_for(lambda: server.num_open == 0)
    assert server.num_closed_early == 3


def test_only_the_chains_of_the_caller_who_has_gone_are_given_up(
    server: CompletionsServer, connect: "Connect"
) -> None:
    server.does.step_s = 0.01
    ranker = connect()
    leaves, stays = ranker.encode("ice", DOCUMENTS), ranker.encode("ice", DOCUMENTS)
    leaves.caller.is_gone = lambda: True
    scores = ranker.score([leaves, stays])
    assert {each.reading for each in leaves.reasoned} == {Reading.FALLBACK}
    assert scores[1] == pytest.approx(ranker.rank("ice", DOCUMENTS), abs=1e-6)


def test_what_is_raised_between_steps_closes_the_streams(
    server: CompletionsServer, connect: "Connect"
) -> None:
    ranker = connect(max_tokens=900)
    server.does.fault = "hang"
    rows = chains_of([ranker.encode("ice", DOCUMENTS)], ranker._rules)[1]

    def stop() -> None:
        if server.num_open == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        ranker._engine.finish(rows[0], stop)
    wait_for(lambda: server.num_open == 0)


def test_an_end_of_the_text_whose_token_is_not_told(
    server: CompletionsServer, connect: "Connect", cases: list[dict[str, Any]]
) -> None:
    case = next(case for case in cases if case["name"] == "forced-after-eos")
    ranker = connect(max_tokens=case["max_new_tokens"])
    for hides_end in (False, True):
        server.does.hides_end = hides_end
        [found] = ranker.explain(case["query"], [case["passage"]])
        assert found.reasoned.end is End.END_OF_TEXT
        assert found.reasoned.text == case["expected"]["chain"]
        assert found.score == pytest.approx(case["expected"]["exact"]["score"], abs=1e-5)


def test_requests_share_the_streams_and_end_in_any_order(
    server: CompletionsServer, connect: "Connect"
) -> None:
    ranker = connect(max_streams=2)
    alone = ranker.rank("ice", DOCUMENTS)
    server.most_open = 0
    with ThreadPoolExecutor(6) as pool:
        rows = list(pool.map(lambda _: ranker.rank("ice", DOCUMENTS), range(6)))
    assert rows == [pytest.approx(alone, abs=1e-6)] * 6
    assert server.most_open == 2
    assert ranker.has_room


def test_a_server_that_has_gone_is_known_to_have_gone(
    server: CompletionsServer, connect: "Connect"
) -> None:
    ranker = connect()
    assert ranker.fault is None
    server.does.is_healthy = False
    wait_for(lambda: ranker.fault is not None)
    server.does.is_healthy = True
    wait_for(lambda: ranker.fault is None)


def test_every_parameter_that_changes_a_chain_is_sent(
    server: CompletionsServer, connect: "Connect"
) -> None:
    connect().rank("ice", ["One."])
    body = next(each for each in server.bodies if "stop" in each)
    assert body["stop"] == ["</think> true", "</think> false"]
    assert all(isinstance(token, int) for token in body["prompt"])
    assert (body["temperature"], body["repetition_penalty"], body["top_p"]) == (0, 1.0, 1.0)
    assert body["skip_special_tokens"] is False
