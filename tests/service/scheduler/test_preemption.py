"""Short jobs that run between the steps of a long batch."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from blockrank_server.service.scheduler.job import Job
from blockrank_server.service.scheduler.preemption import pick_preempting

if TYPE_CHECKING:
    from tests.service.scheduler.conftest import (
        Busy,
        MakeBatcher,
        MakeRequest,
        Model,
        Observer,
        RunFor,
        Running,
    )

MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(make_request: "MakeRequest") -> MakeJob:
    def make(num_tokens: int, *, num_documents: int = 1, due_s: float = 0.0) -> Job:
        request = make_request(num_tokens, num_documents=num_documents)
        return Job(request, num_tokens, 0.0, 1e9, due_s)

    return make


@pytest.fixture
def long(make_job: MakeJob) -> list[Job]:
    return [make_job(num_tokens, num_documents=60, due_s=30) for num_tokens in (40, 60)]


def test_a_job_of_a_quarter_of_the_shortest_running_one_preempts_it(
    make_job: MakeJob, long: list[Job]
) -> None:
    fits, too_long, later = make_job(10), make_job(11), make_job(5, due_s=31)
    assert pick_preempting([too_long, later, fits], long, room=1000, limit=1000) == [fits]
    assert pick_preempting([too_long, later], long, room=1000, limit=1000) == ()


def test_no_more_preempts_a_batch_than_there_is_room(make_job: MakeJob, long: list[Job]) -> None:
    waiting = [make_job(10) for _ in range(5)]
    assert len(pick_preempting(waiting, long, room=1000, limit=40)) == 4
    assert len(pick_preempting(waiting, long, room=20, limit=40)) == 2
    assert len(pick_preempting(waiting, long, room=5, limit=40)) == 1  # alone
    assert pick_preempting(waiting, long, room=1000, limit=9) == ()


def test_a_short_job_runs_between_the_steps_of_a_long_one(
    busy: "Busy", model: "Model", observer: "Observer"
) -> None:
    # It is accepted although the long one alone takes longer than its deadline allows.
    short = busy.submit(5, deadline_s=40 + 10, name=3)
    model.gate.set()
    assert short.future.result(60).scores == [3]
    assert busy.running.future.result(60).scores == [2]
    assert model.batches == [[1], [2], [3]]
    kinds = [(r.num_tokens, r.is_preempting) for r in observer.reports]
    assert kinds == [(40, False), (5, True), (40, False)]


def test_a_failing_short_job_leaves_the_long_one_alone(busy: "Busy", model: "Model") -> None:
    poison: Any = 901
    short = busy.submit(5, deadline_s=1e9, name=poison)
    model.gate.set()
    with pytest.raises(Exception, match=r"^Inference failed$"):
        short.future.result(60)
    assert busy.running.future.result(60).scores == [2]


def test_what_preempts_a_batch_does_not_make_it_late(
    model: "Model",
    observer: "Observer",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
    run_for: "RunFor",
) -> None:
    batcher = make_batcher(max_batch_s=1000)
    with running(batcher, model.start):
        run_for(batcher, make_request(40, 1), 40.0)  # t = 40
        long = batcher.submit(make_request(40, 2), 40 + 40 + 4)  # four seconds to spare
        assert model.entered.acquire(timeout=60)
        short = batcher.submit(make_request(5, 3), 1e9)
        model.gate.set()
        assert short.future.result(60).scores == [3]
        assert long.future.result(60).scores == [2]
    assert [report.num_tokens for report in observer.reports] == [40, 40, 5]
