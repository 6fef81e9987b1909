import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from blockrank_server.models.request import EncodedRequest
from blockrank_server.service.batcher import Batcher, BatchReport
from blockrank_server.service.batching import ArrivalOrder
from blockrank_server.service.errors import (
    DrainingError,
    ModelUnavailableError,
    OverloadedError,
)

if TYPE_CHECKING:
    from tests.service.batcher.conftest import MakeBatcher, MakeRequest, Model, Running

BUDGET = 10  # tokens of a batch
POISON, DEADLY, WRONG_LENGTH, NOT_FINITE = 901, 902, 903, 904  # names Model reacts to


def test_close_answers_what_was_accepted_then_refuses(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher(max_wait_s=10_000)
    model.gate.clear()
    closed: list[bool] = []
    with running(batcher, model.score):
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
    with running(batcher, model.score):
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
    batcher.run(model.score)  # ends at once


def test_the_death_of_the_thread_fails_everybody_and_refuses_from_then_on(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    model.gate.clear()
    with running(batcher, model.score):
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


def test_death_while_trying_job_by_job_fails_the_rest_of_the_batch(
    make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    calls: list[int] = []

    def score(batch: Sequence[EncodedRequest]) -> list[list[float]]:
        calls.append(len(batch))
        if len(batch) == 2:
            raise ValueError("both")
        raise SystemExit

    jobs = [batcher.submit(make_request(5, n)) for n in (1, 2)]
    with running(batcher, score):
        for job in jobs:
            with pytest.raises(ModelUnavailableError):
                job.future.result(60)
    assert calls == [2, 1]


def test_reports_and_the_predicted_wait(
    model: "Model", make_request: "MakeRequest", running: "Running"
) -> None:
    reports: list[BatchReport] = []
    times = iter(float(t) for t in range(100))
    batcher = Batcher(
        ArrivalOrder(max_batch_tokens=BUDGET, max_wait_s=0),
        max_queue_requests=9,
        max_queue_tokens=99,
        observe=reports.append,
        clock=lambda: next(times),
    )
    job = batcher.submit(make_request(10, 1))  # at 0; picked at 1, run from 2 to 3
    assert batcher.predicted_wait_s == 0
    with running(batcher, model.score):
        scored = job.future.result(60)
    assert (scored.queue_s, scored.infer_s) == (2.0, 1.0)
    assert reports == [BatchReport(1, 10, 1.0)]


def test_retry_after_follows_the_speed_of_late(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher(max_queue_requests=1)
    with running(batcher, model.score):
        batcher.submit(make_request(10, 1)).future.result(60)
        model.gate.clear()
        assert model.entered.acquire(timeout=60)
        batcher.submit(make_request(10, 2))
        assert model.entered.acquire(timeout=60)
        batcher.submit(make_request(10, 3))
        with pytest.raises(OverloadedError) as caught:
            batcher.submit(make_request(10, 4))
        assert caught.value.retry_after_s == batcher.predicted_wait_s > 0
        model.gate.set()
