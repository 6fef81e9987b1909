"""Admission by predicted time."""

from typing import TYPE_CHECKING

import pytest

from blockrank_server.service.errors import DeadlineError, OverloadedError
from blockrank_server.service.scheduler.admission_queue import HopelessError
from blockrank_server.service.scheduler.job import Drop

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker
    from tests.service.scheduler.conftest import (
        Busy,
        Clock,
        MakeBatcher,
        MakeRequest,
        Model,
        Observer,
        RunFor,
        Running,
    )


def test_a_job_that_would_miss_its_deadline_is_refused(busy: "Busy") -> None:
    with pytest.raises(OverloadedError) as caught:
        busy.submit(20, deadline_s=40 + 40 + 20)  # with nothing to spare
    assert caught.value.retry_after_s == pytest.approx(40)
    assert busy.batcher.num_requests == 0


def test_a_job_that_meets_its_deadline_is_accepted(busy: "Busy", model: "Model") -> None:
    job = busy.submit(20, deadline_s=40 + 40 + 23, name=3)
    model.gate.set()
    assert job.future.result(60).scores == [3]


def test_a_job_that_would_make_another_late_is_refused(busy: "Busy", model: "Model") -> None:
    accepted = busy.submit(20, deadline_s=40 + 40 + 23, name=3)
    with pytest.raises(OverloadedError):
        busy.submit(15, deadline_s=100)  # due before the other
    model.gate.set()
    assert accepted.future.result(60).scores == [3]


def test_the_wait_counts_what_runs_and_what_waits(busy: "Busy", clock: "Clock") -> None:
    busy.submit(20, deadline_s=1e9)
    clock.now_s = 50.0
    assert busy.batcher.predicted_wait_s == pytest.approx(30 + 20)


def test_an_idle_device_tries_what_was_possible_once_and_is_predicted_to_be_late(
    model: "Model",
    clock: "Clock",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
    run_for: "RunFor",
) -> None:
    batcher = make_batcher(is_speed_known=False)
    with running(batcher, model.start):
        run_for(batcher, make_request(10, 1), 1.0)
        for _ in range(20):
            run_for(batcher, make_request(10, 1), 1000.0)
        assert batcher.predicted_wait_s == 0
        model.gate.set()
        assert batcher.submit(make_request(10, 2), clock.now_s + 2).future.result(60).scores == [2]


def test_what_was_never_possible_is_refused_by_an_idle_device_too(
    model: "Model",
    clock: "Clock",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
    run_for: "RunFor",
) -> None:
    batcher = make_batcher(is_speed_known=False)
    with running(batcher, model.start):
        run_for(batcher, make_request(10, 1), 10.0)  # t = 10, a second a token at best
        model.gate.set()
        with pytest.raises(HopelessError) as caught:
            batcher.submit(make_request(20, 2), clock.now_s + 19)
        assert (caught.value.num_tokens, caught.value.left_s) == (20, 19)
        assert caught.value.least_s == pytest.approx(20)
        assert batcher.submit(make_request(20, 3), clock.now_s + 21).future.result(60).scores == [3]
        assert batcher.num_requests == 0
    assert model.batches == [[1], [3]]


def test_a_faster_batch_makes_possible_what_was_refused(
    model: "Model",
    clock: "Clock",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
    run_for: "RunFor",
) -> None:
    batcher = make_batcher(is_speed_known=False)
    with running(batcher, model.start):
        run_for(batcher, make_request(10, 1), 10.0)
        with pytest.raises(HopelessError):
            batcher.submit(make_request(20, 2), clock.now_s + 5)
        run_for(batcher, make_request(5, 3), 1.0)
        model.gate.set()
        assert batcher.submit(make_request(20, 4), clock.now_s + 5).future.result(60).scores == [4]


def test_a_full_queue_is_no_reason_to_have_what_is_impossible_sent_again(busy: "Busy") -> None:
    for name in range(3, 103):
        busy.submit(1, deadline_s=1e9, name=name)
    with pytest.raises(HopelessError):
        busy.submit(20, deadline_s=40 + 19)
    with pytest.raises(OverloadedError):
        busy.submit(20, deadline_s=1e9)


def test_equal_documents_make_a_long_request_possible(
    model: "Model",
    clock: "Clock",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    fake_ranker: "type[FakeRanker]",
    running: "Running",
    run_for: "RunFor",
) -> None:
    batcher = make_batcher(is_speed_known=False)
    equal = fake_ranker().encode("why", ["one and the same"] * 10)
    different = fake_ranker().encode("why", [f"one and the {i}" for i in range(10)])
    with running(batcher, model.start):
        run_for(batcher, make_request(10, 1), 10.0)
        model.gate.set()
        with pytest.raises(HopelessError):
            batcher.submit(different, clock.now_s + 10)
        batcher.submit(equal, clock.now_s + 10).future.result(60)


def test_a_request_that_comes_after_its_deadline_is_not_called_impossible(
    clock: "Clock",
    model: "Model",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
    run_for: "RunFor",
) -> None:
    batcher = make_batcher(is_speed_known=False)
    with running(batcher, model.start):
        run_for(batcher, make_request(10, 1), 10.0)
        model.gate.set()
        with pytest.raises(DeadlineError):
            batcher.submit(make_request(10, 2), clock.now_s).future.result(60)


def test_jobs_that_cannot_meet_their_deadline_any_more_are_not_run(
    busy: "Busy", model: "Model", clock: "Clock", observer: "Observer"
) -> None:
    late = [busy.submit(11, deadline_s=300, name=name) for name in (3, 4)]
    clock.now_s = 290.0
    model.gate.set()
    for job in late:
        with pytest.raises(DeadlineError):
            job.future.result(60)
    assert busy.running.future.result(60).scores == [2]
    assert model.batches == [[1], [2]]
    assert observer.drops == [Drop.DEADLINE] * 2


def test_a_caller_who_gives_up_at_the_deadline_is_counted_as_late(
    busy: "Busy", clock: "Clock", observer: "Observer"
) -> None:
    job = busy.submit(11, deadline_s=300)
    clock.now_s = 300.0
    assert job.future.cancel()
    assert observer.drops == [Drop.DEADLINE]


def test_a_batch_is_no_longer_than_it_may_take(
    model: "Model",
    clock: "Clock",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
) -> None:
    batcher = make_batcher(max_batch_s=4.0, max_wait_s=1e9)
    model.gate.clear()
    with running(batcher, model.start):
        learnt = batcher.submit(make_request(2, 1))
        assert model.entered.acquire(timeout=60)
        clock.now_s = 2.0
        others = [batcher.submit(make_request(2, name)) for name in (2, 3, 4)]
        model.gate.set()
        for job in (learnt, *others):
            job.future.result(60)
    assert model.batches == [[1], [2, 3], [4]]


def test_the_first_job_runs_alone_to_tell_how_fast_batches_are(
    model: "Model", make_batcher: "MakeBatcher", make_request: "MakeRequest", running: "Running"
) -> None:
    batcher = make_batcher(is_speed_known=False, max_wait_s=1e9)
    jobs = [batcher.submit(make_request(2, name)) for name in (1, 2, 3)]
    with running(batcher, model.start):
        for job in jobs:
            job.future.result(60)
    assert model.batches[0] == [1]


def test_a_job_that_would_wait_for_most_of_its_time_is_refused(
    model: "Model",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
    run_for: "RunFor",
) -> None:
    batcher = make_batcher(max_wait_share_of_deadline=0.25)
    with running(batcher, model.start):
        run_for(batcher, make_request(40, 1), 40.0)  # t = 40
        batcher.submit(make_request(40, 2))
        assert model.entered.acquire(timeout=60)
        with pytest.raises(OverloadedError):
            batcher.submit(make_request(20, 3), 40 + 150)
        patient = batcher.submit(make_request(20, 4), 40 + 170)
        model.gate.set()
        assert patient.future.result(60).scores == [4]
