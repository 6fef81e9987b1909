"""A clock that jumps, as on a machine that was suspended: every accepted job is answered once."""

from typing import TYPE_CHECKING

import pytest

from blockrank_server.service.errors import DeadlineError
from blockrank_server.service.scheduler.job import Drop

if TYPE_CHECKING:
    from tests.service.scheduler.conftest import (
        Clock,
        MakeBatcher,
        MakeRequest,
        Model,
        Observer,
        RunFor,
        Running,
    )

HOUR_S = 3600.0


def test_a_jump_amid_a_batch_costs_only_those_whose_callers_gave_up(
    model: "Model",
    clock: "Clock",
    observer: "Observer",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
) -> None:
    batcher = make_batcher(max_batch_s=1.0)
    model.gate.clear()
    with running(batcher, model.start):
        amid = batcher.submit(make_request(10, 1), deadline_s=2 * HOUR_S)
        assert model.entered.acquire(timeout=60)
        late = [batcher.submit(make_request(10, name), deadline_s=8) for name in (2, 3)]
        patient = batcher.submit(make_request(10, 4), deadline_s=10 * HOUR_S)
        clock.now_s = HOUR_S
        model.gate.set()
        assert amid.future.result(60).scores == [1]
        for job in late:
            with pytest.raises(DeadlineError):
                job.future.result(60)
        assert patient.future.result(60).scores == [4]
    assert model.batches == [[1], [4]]
    assert observer.drops == [Drop.DEADLINE] * 2


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_a_jump_amid_a_batch_has_nobody_refused_later(
    jump_s: float,
    model: "Model",
    clock: "Clock",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    running: "Running",
    run_for: "RunFor",
) -> None:
    batcher = make_batcher(max_batch_s=1.0)
    with running(batcher, model.start):
        run_for(batcher, make_request(10, 0), 0.1)
        run_for(batcher, make_request(10, 1), jump_s)
        jobs = [batcher.submit(make_request(10, name), clock.now_s + 8) for name in range(10)]
        model.gate.set()
        assert [job.future.result(60).scores for job in jobs] == [[name] for name in range(10)]
