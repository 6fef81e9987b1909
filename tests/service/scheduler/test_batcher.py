import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

import pytest

from blockrank_server.models.errors import InputTooLongError
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.errors import InferenceError, OverloadedError
from blockrank_server.service.scheduler.job import Drop

if TYPE_CHECKING:
    from tests.service.scheduler.conftest import (
        FakeScores,
        MakeBatcher,
        MakeRequest,
        Model,
        Observer,
        Running,
    )

Hook = Callable[[], None] | None

BUDGET = 10  # tokens of a batch
POISON, DEADLY, WRONG_LENGTH, NOT_FINITE, LOST, FAILS_LATER = range(901, 907)  # names of Model


def test_each_job_gets_its_own_scores_in_order_of_arrival(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    jobs = [batcher.submit(make_request(5, name)) for name in range(5)]
    with running(batcher, model.start):
        assert [job.future.result(60).scores for job in jobs] == [[0], [1], [2], [3], [4]]
    assert model.batches == [[0, 1], [2, 3], [4]]


def test_a_job_over_the_budget_runs_alone(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    jobs = [batcher.submit(make_request(n, n)) for n in (4, 50, 4)]
    with running(batcher, model.start):
        assert [job.future.result(60).scores for job in jobs] == [[4], [50], [4]]
    assert model.batches == [[4], [50], [4]]


def test_an_idle_device_does_not_wait_for_mates(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher(max_wait_s=10_000)
    with running(batcher, model.start):
        assert batcher.submit(make_request(1, 7)).future.result(60).scores == [7]


def test_jobs_that_came_while_one_ran_form_a_batch(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher(max_wait_s=10_000)
    model.gate.clear()
    with running(batcher, model.start):
        first = batcher.submit(make_request(8, 1))
        assert model.entered.acquire(timeout=60)
        others = [batcher.submit(make_request(3, name)) for name in (2, 3, 4)]
        model.gate.set()
        assert [job.future.result(60).scores for job in (first, *others)] == [[1], [2], [3], [4]]
    assert model.batches == [[1], [2, 3, 4]]


def test_lengths_do_not_mix(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    lengths = (1, 20, 1, 15)
    jobs = [batcher.submit(make_request(2, n, length)) for n, length in enumerate(lengths)]
    with running(batcher, model.start):
        for name, job in enumerate(jobs):
            assert job.future.result(60).scores == [name] * lengths[name]
    assert model.batches == [[0, 2], [1, 3]]


def test_the_jobs_of_a_failed_batch_are_tried_in_halves(
    model: "Model",
    observer: "Observer",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
) -> None:
    batcher = make_batcher()
    names = (1, 2, POISON, 4, 5)
    jobs = [batcher.submit(make_request(2, name)) for name in names]
    with running(batcher, model.start):
        for name, job in zip(names, jobs, strict=True):
            if name != POISON:
                assert job.future.result(60).scores == [name]
        with pytest.raises(InferenceError, match=r"^Inference failed$") as caught:
            jobs[2].future.result(60)
        assert isinstance(caught.value.__cause__, ValueError)
        assert batcher.submit(make_request(5, 3)).future.result(60).scores == [3]
    assert model.batches == [[*names], [1, 2], [POISON, 4, 5], [POISON], [4, 5], [3]]
    assert observer.num_failed == 3
    assert not batcher.is_dead


@pytest.mark.parametrize("is_done", [False, True])
def test_a_batch_that_fails_on_the_device_is_tried_in_halves(
    is_done: bool,
    model: "Model",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
) -> None:
    model.is_done = is_done
    batcher = make_batcher()
    good, bad = batcher.submit(make_request(5, 1)), batcher.submit(make_request(5, FAILS_LATER))
    with running(batcher, model.start):
        assert good.future.result(60).scores == [1]
        with pytest.raises(InferenceError):
            bad.future.result(60)
    assert model.batches == [[1, FAILS_LATER], [1], [FAILS_LATER]]


@pytest.mark.parametrize("is_done", [False, True])
def test_scores_that_are_there_at_once_need_no_other_thread(
    is_done: bool,
    model: "Model",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
) -> None:
    model.is_done = is_done
    batcher = make_batcher()
    jobs = [batcher.submit(make_request(BUDGET, name)) for name in (1, 2)]
    threads: list[str] = []
    for job in jobs:
        job.future.add_done_callback(lambda _: threads.append(threading.current_thread().name))
    with running(batcher, model.start):
        assert [job.future.result(60).scores for job in jobs] == [[1], [2]]
    assert {name == "complete" for name in threads} == {not is_done}


def test_a_wrong_count_of_rows_reaches_nobody(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    jobs = [batcher.submit(make_request(5, name)) for name in (1, 2)]

    def start(batch: Sequence[EncodedRequest], between_steps: Hook) -> "FakeScores":
        scores = model.start(batch, between_steps)
        del scores.rows[1:]
        return scores

    with running(batcher, start):
        assert [job.future.result(60).scores for job in jobs] == [[1], [2]]
    assert model.batches == [[1, 2], [1], [2]]


def test_a_single_job_without_a_row_fails(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    job = batcher.submit(make_request())
    with (
        running(batcher, lambda batch, _: model.start(batch[:0], None)),
        pytest.raises(InferenceError),
    ):
        job.future.result(60)


@pytest.mark.parametrize("name", [WRONG_LENGTH, NOT_FINITE])
def test_unusable_scores_fail_their_job_only(
    name: int,
    model: "Model",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
) -> None:
    batcher = make_batcher()
    bad, good = batcher.submit(make_request(5, name)), batcher.submit(make_request(5, 1))
    with running(batcher, model.start):
        assert good.future.result(60).scores == [1]
        with pytest.raises(InferenceError):
            bad.future.result(60)
    assert model.batches == [[name, 1]]


def test_a_cancelled_job_leaves_the_queue_at_once_and_is_not_run(
    model: "Model",
    observer: "Observer",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
) -> None:
    batcher = make_batcher(max_queue_requests=2)
    first, second = batcher.submit(make_request(5, 1)), batcher.submit(make_request(5, 2))
    assert first.future.cancel()
    assert (batcher.num_requests, batcher.num_tokens) == (1, 5)
    third = batcher.submit(make_request(5, 3))
    with running(batcher, model.start):
        assert [job.future.result(60).scores for job in (second, third)] == [[2], [3]]
        with pytest.raises(CancelledError):
            first.future.result(0)
    assert model.batches == [[2, 3]]
    assert observer.drops == [Drop.CLIENT_GONE]


def test_the_queue_is_bounded_in_requests(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher(max_queue_requests=2)
    jobs = [batcher.submit(make_request(1, name)) for name in (1, 2)]
    with pytest.raises(OverloadedError):
        batcher.submit(make_request(1))
    with running(batcher, model.start):
        assert [job.future.result(60).scores for job in jobs] == [[1], [2]]


def test_the_queue_is_bounded_in_tokens(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher(max_queue_tokens=20)
    jobs = [batcher.submit(make_request(12, 1)), batcher.submit(make_request(8, 2))]
    with pytest.raises(OverloadedError):
        batcher.submit(make_request(1))
    with running(batcher, model.start):
        assert [job.future.result(60).scores for job in jobs] == [[1], [2]]


def test_a_job_no_queue_could_take_is_told_the_limit(
    make_batcher: "MakeBatcher", make_request: "MakeRequest"
) -> None:
    batcher = make_batcher(max_queue_tokens=20)
    with pytest.raises(InputTooLongError, match="21 tokens, the limit is 20") as caught:
        batcher.submit(make_request(21))
    assert (caught.value.field, caught.value.limit, caught.value.value) == ("documents", 20, 21)
