from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

import pytest

from blockrank_server.models.errors import InputTooLongError
from blockrank_server.service.errors import (
    InferenceError,
    OverloadedError,
)

if TYPE_CHECKING:
    from tests.service.batcher.conftest import MakeBatcher, MakeRequest, Model, Running

BUDGET = 10  # tokens of a batch
POISON, DEADLY, WRONG_LENGTH, NOT_FINITE = 901, 902, 903, 904  # names Model reacts to


def test_each_job_gets_its_own_scores_in_order_of_arrival(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    jobs = [batcher.submit(make_request(5, name)) for name in range(5)]
    with running(batcher, model.score):
        assert [job.future.result(60).scores for job in jobs] == [[0], [1], [2], [3], [4]]
    assert model.batches == [[0, 1], [2, 3], [4]]


def test_a_job_over_the_budget_runs_alone(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    jobs = [batcher.submit(make_request(n, n)) for n in (4, 50, 4)]
    with running(batcher, model.score):
        assert [job.future.result(60).scores for job in jobs] == [[4], [50], [4]]
    assert model.batches == [[4], [50], [4]]


def test_a_full_batch_does_not_wait(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher(max_wait_s=10_000)
    with running(batcher, model.score):
        jobs = [batcher.submit(make_request(5, name)) for name in (1, 2)]
        assert [job.future.result(60).scores for job in jobs] == [[1], [2]]
    assert model.batches == [[1, 2]]


def test_a_lone_job_waits_no_longer_than_it_is_told(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher(max_wait_s=0.001)
    with running(batcher, model.score):
        assert batcher.submit(make_request(1, 7)).future.result(60).scores == [7]


def test_a_failed_batch_is_tried_job_by_job(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    good, bad = batcher.submit(make_request(5, 1)), batcher.submit(make_request(5, POISON))
    with running(batcher, model.score):
        assert good.future.result(60).scores == [1]
        with pytest.raises(InferenceError, match=r"^Inference failed$") as caught:
            bad.future.result(60)
        assert isinstance(caught.value.__cause__, ValueError)
        assert batcher.submit(make_request(5, 3)).future.result(60).scores == [3]
    assert model.batches == [[1, POISON], [1], [POISON], [3]]
    assert not batcher.is_dead


def test_a_wrong_count_of_rows_reaches_nobody(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    jobs = [batcher.submit(make_request(5, name)) for name in (1, 2)]
    with running(batcher, lambda batch: model.score(batch)[:1]):
        assert [job.future.result(60).scores for job in jobs] == [[1], [2]]
    assert model.batches == [[1, 2], [1], [2]]


def test_a_single_job_without_a_row_fails(
    make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    job = batcher.submit(make_request())
    with running(batcher, lambda batch: []), pytest.raises(InferenceError):
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
    with running(batcher, model.score):
        assert good.future.result(60).scores == [1]
        with pytest.raises(InferenceError):
            bad.future.result(60)
    assert model.batches == [[name, 1]]


def test_a_cancelled_job_leaves_the_queue_at_once_and_is_not_run(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher(max_queue_requests=2)
    first, second = batcher.submit(make_request(5, 1)), batcher.submit(make_request(5, 2))
    assert first.future.cancel()
    assert (batcher.num_requests, batcher.num_tokens) == (1, 5)
    third = batcher.submit(make_request(5, 3))
    with running(batcher, model.score):
        assert [job.future.result(60).scores for job in (second, third)] == [[2], [3]]
        with pytest.raises(CancelledError):
            first.future.result(0)
    assert model.batches == [[2, 3]]


def test_a_running_job_cannot_be_cancelled(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher()
    model.gate.clear()
    with running(batcher, model.score):
        job = batcher.submit(make_request(5, 1))
        assert model.entered.acquire(timeout=60)
        assert not job.future.cancel()
        model.gate.set()
        assert job.future.result(60).scores == [1]


def test_the_queue_is_bounded_in_requests(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher(max_queue_requests=2)
    jobs = [batcher.submit(make_request(1, name)) for name in (1, 2)]
    with pytest.raises(OverloadedError):
        batcher.submit(make_request(1))
    with running(batcher, model.score):
        assert [job.future.result(60).scores for job in jobs] == [[1], [2]]


def test_the_queue_is_bounded_in_tokens(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher(max_queue_tokens=20)
    jobs = [batcher.submit(make_request(12, 1)), batcher.submit(make_request(8, 2))]
    with pytest.raises(OverloadedError):
        batcher.submit(make_request(1))
    with running(batcher, model.score):
        assert [job.future.result(60).scores for job in jobs] == [[1], [2]]


def test_a_job_no_queue_could_take_is_told_the_limit(
    make_batcher: "MakeBatcher", make_request: "MakeRequest"
) -> None:
    batcher = make_batcher(max_queue_tokens=20)
    with pytest.raises(InputTooLongError, match="21 tokens, the limit is 20") as caught:
        batcher.submit(make_request(21))
    assert (caught.value.field, caught.value.limit, caught.value.value) == ("documents", 20, 21)
