from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrank_server.service.scheduler.job import Job, document_bucket
from blockrank_server.service.scheduler.policy import BatchingPolicy


class Request:
    def __init__(self, num_tokens: int, num_documents: int = 1) -> None:
        self.num_tokens = num_tokens
        self.num_documents = num_documents


def job(
    tokens: int,
    *,
    documents: int = 1,
    accepted_s: float = 0.0,
    due_s: float = 0.0,
    known_tokens: int = 0,
) -> Job:
    request = Request(tokens + known_tokens, documents)
    return Job(request, tokens, accepted_s, 1e9, due_s, Future())  # type: ignore[arg-type]


def jobs(*tokens: int) -> list[Job]:
    return [job(n) for n in tokens]


POLICY = BatchingPolicy(max_wait_s=2.0)
ROOM = 10


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
    assert POLICY.pick(waiting, 0.0, room=ROOM, is_idle=False).jobs == waiting[:count]


def test_room_is_worth_waiting_for_until_the_oldest_has_waited_enough() -> None:
    waiting = [job(4, accepted_s=1.0), job(5, accepted_s=2.5)]
    assert POLICY.pick(waiting, 2.5, room=ROOM, is_idle=False) == ((), 0.5)
    assert POLICY.pick(waiting, 3.0, room=ROOM, is_idle=False).jobs == waiting
    assert POLICY.pick(waiting, 9.0, room=ROOM, is_idle=False).jobs == waiting


def test_nothing_is_worth_waiting_for_on_an_idle_device() -> None:
    waiting = jobs(4)
    assert POLICY.pick(waiting, 0.0, room=ROOM, is_idle=True).jobs == waiting


def test_a_job_that_does_not_fit_is_not_overtaken_within_its_bucket() -> None:
    waiting = jobs(4, 9, 1)
    assert POLICY.pick(waiting, 5.0, room=ROOM, is_idle=True).jobs == waiting[:1]


def test_the_job_due_first_chooses_the_bucket() -> None:
    long, short, late = job(3, documents=60, due_s=5), job(3, due_s=2), job(3, due_s=9)
    assert POLICY.pick([long, late, short], 0.0, room=ROOM, is_idle=True).jobs == [short, late]
    assert POLICY.pick([long, late], 0.0, room=ROOM, is_idle=True).jobs == [long]


def test_lists_that_cost_little_share_a_batch_with_short_ones_and_not_with_long_ones() -> None:
    short, long = job(3, documents=2, due_s=2), job(100, documents=60, due_s=3)
    known = job(3, documents=60, due_s=1, known_tokens=97)
    picked = POLICY.pick([short, long, known], 0.0, room=1000, is_idle=True).jobs
    assert picked == [known, short]


def test_short_jobs_are_due_before_long_ones_of_the_same_moment() -> None:
    assert POLICY.due_s(10.0, 100.0, predicted_s=1.0) < POLICY.due_s(10.0, 100.0, predicted_s=2.0)


def test_no_due_date_lies_behind_the_deadline() -> None:
    assert POLICY.due_s(10.0, 12.0, predicted_s=50.0) == 12.0


@given(st.lists(st.integers(1, 15), min_size=1, max_size=20))
def test_batches_are_within_budget_unless_alone(tokens: list[int]) -> None:
    waiting = jobs(*tokens)
    picked = POLICY.pick(waiting, 99.0, room=ROOM, is_idle=False).jobs
    assert picked
    assert picked == waiting[: len(picked)]
    assert len(picked) == 1 or sum(job.num_tokens for job in picked) <= 10


@given(
    st.lists(st.tuples(st.integers(1, 15), st.integers(1, 1000), st.floats(0, 9)), min_size=1),
)
def test_every_bucket_is_served_in_the_end(given_jobs: list[tuple[int, int, float]]) -> None:
    waiting = [job(n, documents=length, due_s=due) for n, length, due in given_jobs]
    while waiting:
        first = min(waiting, key=lambda j: j.due_s)
        picked = POLICY.pick(waiting, 0.0, room=ROOM, is_idle=True).jobs
        assert first in picked
        assert len({j.bucket for j in picked}) == 1
        waiting = [j for j in waiting if j not in picked]


@pytest.mark.parametrize(
    ("count", "label"), [(0, "1"), (1, "1"), (2, "2"), (3, "5"), (1000, "1000"), (1001, "more")]
)
def test_document_bucket(count: int, label: str) -> None:
    assert document_bucket(count) == label
