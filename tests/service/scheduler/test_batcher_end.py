import threading
from typing import TYPE_CHECKING

import pytest

from blockrank_server.service.errors import (
    DrainingError,
    InferenceError,
    ModelUnavailableError,
)
from blockrank_server.service.scheduler.running_batch import BatchReport

if TYPE_CHECKING:
    from tests.service.scheduler.conftest import (
        Clock,
        MakeBatcher,
        MakeRequest,
        Model,
        Observer,
        Running,
    )

BUDGET = 10  # tokens of a batch
POISON, DEADLY, WRONG_LENGTH, NOT_FINITE, LOST, FAILS_LATER = range(901, 907)  # names of Model


def test_close_answers_what_was_accepted_then_refuses(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher(max_wait_s=10_000)
    model.gate.clear()
    closed: list[bool] = []
    with running(batcher, model.start):
        jobs = [batcher.submit(make_request(5, name)) for name in range(7)]
        assert model.entered.acquire(timeout=60)
        closer = threading.Thread(target=lambda: closed.append(batcher.close(60)))
        closer.start()
        model.gate.set()
        closer.join(60)
        assert closed == [True]
        assert [job.future.result(0).scores for job in jobs] == [[n] for n in range(7)]
    with pytest.raises(DrainingError):
        batcher.submit(make_request())


def test_close_gives_up_in_time_with_an_error_for_the_jobs_waiting(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    model.gate.clear()
    with running(batcher, model.start):
        in_model = batcher.submit(make_request(10, 1))
        assert model.entered.acquire(timeout=60)
        waiting = batcher.submit(make_request(10, 2))
        assert batcher.close(0) is False
        with pytest.raises(DrainingError):
            waiting.future.result(0)
        model.gate.set()
        assert in_model.future.result(60).scores == [1]
    assert model.batches == [[1]]


def test_close_before_run_gives_everybody_an_error(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest"
) -> None:
    batcher = make_batcher()
    job = batcher.submit(make_request())
    assert batcher.close(0) is False
    with pytest.raises(DrainingError):
        job.future.result(0)
    batcher.run(model.start)  # ends at once


def test_the_death_of_the_thread_fails_everybody_and_refuses_from_then_on(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    model.gate.clear()
    with running(batcher, model.start):
        jobs = [batcher.submit(make_request(5, n)) for n in (1, DEADLY, 3, 4)]
        assert model.entered.acquire(timeout=60)
        model.gate.set()
        for job in jobs:
            with pytest.raises(ModelUnavailableError):
                job.future.result(60)
        assert batcher.close(60)
        assert batcher.is_dead
        assert (batcher.num_requests, batcher.num_tokens) == (0, 0)
        with pytest.raises(ModelUnavailableError):
            batcher.submit(make_request())


def test_death_while_trying_halves_fails_the_rest_of_the_batch(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    jobs = [batcher.submit(make_request(3, n)) for n in (POISON, DEADLY, 3)]
    with running(batcher, model.start):
        with pytest.raises(InferenceError):
            jobs[0].future.result(60)
        for job in jobs[1:]:
            with pytest.raises(ModelUnavailableError):
                job.future.result(60)
    assert model.batches == [[POISON, DEADLY, 3], [POISON], [DEADLY, 3]]


def test_a_lost_device_ends_the_thread_with_an_answer_for_everybody(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    jobs = [batcher.submit(make_request(5, n)) for n in (1, LOST, 3)]
    with running(batcher, model.start):
        for job in jobs:
            with pytest.raises(ModelUnavailableError):
                job.future.result(60)
        assert batcher.close(60)
        assert batcher.is_dead
    assert model.batches == [[1, LOST]]


def test_the_death_of_the_completing_thread_ends_the_other(
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
    model: "Model",
    observer: "Observer",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def completed(report: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(observer, "completed", completed)
    batcher = make_batcher()
    jobs = [batcher.submit(make_request(10, n)) for n in (1, 2)]
    with running(batcher, model.start):
        for job in jobs:
            with pytest.raises(ModelUnavailableError):
                job.future.result(60)
        assert batcher.close(60)
        assert batcher.is_dead


def test_the_last_caller_who_goes_ends_a_closed_batcher(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    model.gate.clear()
    with running(batcher, model.start):
        first = batcher.submit(make_request(10, 1))
        assert model.entered.acquire(timeout=60)
        second = batcher.submit(make_request(10, 2))
        assert batcher.close(0) is False
        assert second.future.done()
        model.gate.set()
        assert first.future.result(60).scores == [1]
        assert batcher.close(60)


def test_reports_and_durations(
    model: "Model",
    clock: "Clock",
    observer: "Observer",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
) -> None:
    batcher = make_batcher()
    model.gate.clear()
    with running(batcher, model.start):
        job = batcher.submit(make_request(10, 1))
        assert model.entered.acquire(timeout=60)
        clock.now_s = 3.0
        model.gate.set()
        scored = job.future.result(60)
    assert (scored.queue_s, scored.infer_s) == (0.0, 3.0)
    assert observer.reports == [BatchReport(1, 10, 3.0)]
