"""A forward pass whose callers have all gone ends between two of its steps."""

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING

import pytest

from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.errors import DeadlineError, OverloadedError
from blockrank_server.service.scheduler.job import Drop, Job

if TYPE_CHECKING:
    from tests.service.scheduler.conftest import (
        Clock,
        FakeScores,
        MakeBatcher,
        MakeRequest,
        Model,
        Observer,
        RunFor,
        Running,
    )

NUM_STEPS = 10
POISON = 901  # a name of Model


class Steps:
    """A network of ten steps. After some of them something happens.

    Attributes:
        passes: steps done in each forward pass, by its first name, in the order of their starts.
        after: what happens after a step, by the name and the number of steps done.
    """

    def __init__(self, model: "Model") -> None:
        self._model = model
        self.passes: list[tuple[int, int]] = []
        self.after: dict[tuple[int, int], Callable[[], object]] = {}

    def start(
        self, batch: Sequence[EncodedRequest], between_steps: Callable[[], None] | None
    ) -> "FakeScores":
        scores = self._model.start(batch, None)
        assert between_steps is not None
        name, place = self._model.batches[-1][0], len(self.passes)
        for step in range(1, NUM_STEPS + 1):
            self.passes[place:] = [(name, step), *self.passes[place + 1 :]]
            self.after.get((name, step), lambda: None)()
            between_steps()
        return scores


@pytest.fixture(params=[False, True], ids=["other-thread", "same-thread"])
def steps(request: pytest.FixtureRequest, model: "Model") -> Steps:
    """Scores are waited for on another thread, as on CUDA, or are there at once."""
    model.is_done = request.param
    return Steps(model)


def leave_at(job: Job, clock: "Clock", now_s: float) -> None:
    clock.now_s = now_s
    job.future.cancel()


def gone(job: Job) -> None:
    with pytest.raises(CancelledError):
        job.future.result(60)


def test_a_pass_nobody_waits_for_ends_at_the_next_step(
    steps: Steps,
    clock: "Clock",
    observer: "Observer",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
) -> None:
    batcher = make_batcher()
    jobs = [batcher.submit(make_request(5, name), 50.0) for name in (1, 2)]
    after = batcher.submit(make_request(5, 3), 50.0)
    steps.after[1, 3] = jobs[0].future.cancel
    steps.after[1, 6] = partial(leave_at, jobs[1], clock, 4.0)
    with running(batcher, steps.start):
        assert after.future.result(60).scores == [3]
        for job in jobs:
            gone(job)
    assert steps.passes == [(1, 6), (3, 10)]
    assert observer.drops == [Drop.CLIENT_GONE] * 2
    assert (observer.busy_s_of_aborted, observer.num_failed) == ([4.0], 0)
    assert [report.num_requests for report in observer.reports] == [1]
    assert batcher.predicted_wait_s == 0
    assert not batcher.is_dead


def test_a_batch_goes_on_for_the_caller_who_stays(
    steps: Steps,
    observer: "Observer",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
) -> None:
    batcher = make_batcher()
    leaves, stays = batcher.submit(make_request(5, 1)), batcher.submit(make_request(5, 2))
    steps.after[1, 1] = leaves.future.cancel
    with running(batcher, steps.start):
        assert stays.future.result(60).scores == [2]
        gone(leaves)
    assert steps.passes == [(1, 10)]
    assert (observer.drops, observer.busy_s_of_aborted) == ([], [])  # it was run to its end


def test_a_deadline_that_has_passed_counts_as_gone(
    steps: Steps,
    clock: "Clock",
    observer: "Observer",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
) -> None:
    batcher = make_batcher()
    late, leaves = batcher.submit(make_request(5, 1), 9.0), batcher.submit(make_request(5, 2), 99.0)
    steps.after[1, 2] = leaves.future.cancel
    steps.after[1, 4] = lambda: setattr(clock, "now_s", 9.0)
    with running(batcher, steps.start):
        with pytest.raises(DeadlineError):
            late.future.result(60)
        gone(leaves)
    assert steps.passes == [(1, 4)]
    assert observer.drops == [Drop.DEADLINE, Drop.CLIENT_GONE]


@pytest.mark.parametrize("took_and_predicted_s", [(1.0, 10.0), (20.0, 10 * 29 / 19)])
def test_an_aborted_pass_teaches_only_that_it_is_slower_than_predicted(
    model: "Model",
    steps: Steps,
    clock: "Clock",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
    run_for: "RunFor",
    took_and_predicted_s: tuple[float, float],
) -> None:
    took_s, predicted_s = took_and_predicted_s
    batcher = make_batcher(is_speed_known=False)
    with running(batcher, steps.start):
        run_for(batcher, make_request(10, 1), 10.0)  # a second a token
        model.gate.set()
        job = batcher.submit(make_request(10, 2))
        steps.after[2, 1] = partial(leave_at, job, clock, clock.now_s + took_s)
        gone(job)
        batcher.close(60)
    assert batcher._duration_model.predict_s(10) == pytest.approx(predicted_s)


def test_the_next_caller_does_not_wait_for_a_pass_that_will_be_ended(
    model: "Model",
    steps: Steps,
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
    run_for: "RunFor",
    clock: "Clock",
) -> None:
    batcher = make_batcher()
    with running(batcher, steps.start):
        run_for(batcher, make_request(40, 1), 40.0)  # t = 40, a second a token
        leaves = batcher.submit(make_request(40, 2), 90.0)
        assert model.entered.acquire(timeout=60)  # and before its first step is over
        with pytest.raises(OverloadedError):
            batcher.submit(make_request(20, 3), 40 + 50)
        assert leaves.future.cancel()
        assert batcher.predicted_wait_s == 0
        after = batcher.submit(make_request(20, 4), 40 + 50)
        model.gate.set()
        assert after.future.result(60).scores == [4]
    assert steps.passes == [(1, 10), (2, 1), (4, 10)]


def test_a_batch_that_preempts_ends_too_and_the_long_one_goes_on(
    model: "Model",
    steps: Steps,
    clock: "Clock",
    observer: "Observer",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
    run_for: "RunFor",
) -> None:
    batcher = make_batcher()
    with running(batcher, steps.start):
        run_for(batcher, make_request(40, 1), 40.0)
        long = batcher.submit(make_request(40, 2), 1e9)
        assert model.entered.acquire(timeout=60)
        short = batcher.submit(make_request(5, 3), 60.0)
        steps.after[3, 4] = short.future.cancel
        model.gate.set()
        gone(short)
        assert long.future.result(60).scores == [2]
    assert steps.passes == [(1, 10), (2, 10), (3, 4)]
    assert observer.drops == [Drop.CLIENT_GONE]
    assert len(observer.busy_s_of_aborted) == 1


def test_a_long_batch_ends_after_the_short_one_inside_it_is_answered(
    model: "Model",
    steps: Steps,
    observer: "Observer",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
    run_for: "RunFor",
) -> None:
    batcher = make_batcher()
    with running(batcher, steps.start):
        run_for(batcher, make_request(40, 1), 40.0)
        long = batcher.submit(make_request(40, 2), 1e9)
        assert model.entered.acquire(timeout=60)
        short = batcher.submit(make_request(5, 3), 60.0)
        steps.after[3, 4] = long.future.cancel
        model.gate.set()
        assert short.future.result(60).scores == [3]
        gone(long)
    assert steps.passes == [(1, 10), (2, 2), (3, 10)]
    assert observer.drops == [Drop.CLIENT_GONE]


def test_the_halves_of_a_failed_batch_are_not_run_for_nobody(
    steps: Steps,
    model: "Model",
    observer: "Observer",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
) -> None:
    batcher = make_batcher()
    jobs = [batcher.submit(make_request(3, name)) for name in (1, POISON, 3)]
    model.gate.clear()
    with running(batcher, steps.start):
        assert model.entered.acquire(timeout=60)
        jobs[0].future.cancel()
        model.gate.set()
        assert jobs[2].future.result(60).scores == [3]
        gone(jobs[0])
    assert steps.passes == [(1, 1), (3, 10)]
    assert observer.drops == [Drop.CLIENT_GONE]
