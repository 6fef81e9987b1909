"""Until when chains are waited for, and by whom."""

import time
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from blockrank_server.models.reasoning.request import ReasoningRequest
from blockrank_server.service.scheduler.admission_queue import AdmissionQueue
from blockrank_server.service.scheduler.duration_model import DurationModel
from blockrank_server.service.scheduler.job import Job
from blockrank_server.service.scheduler.policy import BatchLimits
from blockrank_server.service.scheduler.reasoning_callers import ReasoningCallers
from blockrank_server.service.settings import Settings


def request(num_tokens: int = 10, num_optional: int = 90) -> ReasoningRequest:
    return ReasoningRequest.of(
        [np.arange(num_tokens, dtype=np.int32)],
        num_optional=num_optional,
        truncated_documents=(),
        query_truncated=False,
    )


def test_a_request_is_told_its_deadline_and_whether_its_caller_waits() -> None:
    given, future = request(), Future[Any]()
    ReasoningCallers().watch(given, 17.0, future)
    assert given.caller.deadline_s == 17.0
    assert not given.caller.is_gone()
    future.cancel()
    assert given.caller.is_gone()


def test_a_drain_hurries_those_that_wait_and_those_that_come() -> None:
    callers, waiting, answered, late = ReasoningCallers(), request(), request(), request()
    callers.watch(waiting, np.inf, Future())
    done = Future[Any]()
    callers.watch(answered, np.inf, done)
    done.set_result(None)
    before_s = time.monotonic()
    callers.drain(10)
    callers.drain(1000)
    callers.watch(late, np.inf, Future())
    assert before_s < waiting.caller.deadline_s <= time.monotonic() + 10
    assert late.caller.deadline_s == waiting.caller.deadline_s
    assert answered.caller.deadline_s == np.inf


@pytest.mark.parametrize(("deadline_s", "is_late"), [(0.5, False), (0.05, True)])
def test_what_can_still_be_forced_stays_in_the_queue(deadline_s: float, is_late: bool) -> None:
    model = DurationModel()
    model.record(1000, 10.0)  # 0.01 s a token: 0.1 s without the chain, 1 s with it
    queue = AdmissionQueue(BatchLimits.of(Settings()), model)
    given = request()
    job = Job(given, given.num_computed_tokens, 0.0, deadline_s, deadline_s)
    queue.admit(job, 0.0, None)
    assert queue.late(0.0) == ([job] if is_late else [])
