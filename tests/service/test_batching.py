from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrank_server.service.batching import ArrivalOrder, Job


class Request:
    def __init__(self, num_tokens: int) -> None:
        self.num_tokens = num_tokens


def jobs(*tokens: int, accepted_s: float = 0.0) -> list[Job]:
    return [Job(Request(n), accepted_s, Future()) for n in tokens]  # type: ignore[arg-type]


POLICY = ArrivalOrder(max_batch_tokens=10, max_wait_s=2.0)


@pytest.mark.parametrize(
    ("tokens", "count"),
    [
        ((10,), 1),
        ((11,), 1),
        ((4, 6), 2),
        ((4, 7), 1),
        ((4, 6, 1), 2),
        ((11, 1), 1),
        ((5, 5, 5), 2),
    ],
)
def test_a_full_budget_runs_at_once(tokens: tuple[int, ...], count: int) -> None:
    waiting = jobs(*tokens)
    assert POLICY.pick(waiting, 0.0, is_closing=False).jobs == waiting[:count]


def test_room_is_worth_waiting_for_until_the_oldest_is_due() -> None:
    waiting = [*jobs(4, accepted_s=1.0), *jobs(5, accepted_s=2.5)]
    assert POLICY.pick(waiting, 2.5, is_closing=False) == ((), 0.5)
    assert POLICY.pick(waiting, 3.0, is_closing=False).jobs == waiting
    assert POLICY.pick(waiting, 9.0, is_closing=False).jobs == waiting


def test_nothing_is_worth_waiting_for_when_no_more_jobs_come() -> None:
    waiting = jobs(4)
    assert POLICY.pick(waiting, 0.0, is_closing=True).jobs == waiting


def test_a_job_that_does_not_fit_is_not_overtaken() -> None:
    waiting = jobs(4, 9, 1)
    assert POLICY.pick(waiting, 5.0, is_closing=False).jobs == waiting[:1]


@given(st.lists(st.integers(1, 15), min_size=1, max_size=20))
def test_batches_are_within_budget_unless_alone(tokens: list[int]) -> None:
    waiting = jobs(*tokens)
    picked = POLICY.pick(waiting, 99.0, is_closing=False).jobs
    assert picked
    assert picked == waiting[: len(picked)]
    assert len(picked) == 1 or sum(job.request.num_tokens for job in picked) <= 10
