from concurrent.futures import Future
from typing import TYPE_CHECKING

import pytest

from blockrank_server.service.errors import DeadlineError, InferenceError, OverloadedError
from blockrank_server.service.scheduler.coalescing import Answer, Compute, SharedScores
from blockrank_server.service.scheduler.policy import Scored

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker

SCORED = Scored([1.0], 0.0, 0.0)


class Computation:
    """Waits to be told its result."""

    def __init__(self) -> None:
        self.result: Future[Scored] = Future()
        self.num_calls = 0

    def __call__(self) -> Future[Scored]:
        self.num_calls += 1
        return self.result


class Desk:
    """Requests of a ranker to one SharedScores."""

    def __init__(self, ranker: "FakeRanker") -> None:
        self.num_shared = 0
        self.shared = SharedScores(self._count)
        self._ranker = ranker

    def ask(
        self,
        compute: Compute,
        query: str = "q",
        document: str = "a b",
        *,
        answer: Answer | None = None,
    ) -> Answer:
        answer = answer or Future()
        self.shared.join(answer, self._ranker.encode(query, [document] * 8), compute)
        return answer

    def _count(self) -> None:
        self.num_shared += 1


@pytest.fixture
def desk(fake_ranker: "type[FakeRanker]") -> Desk:
    return Desk(fake_ranker())


def test_identical_requests_share_one_computation(desk: Desk) -> None:
    compute = Computation()
    answers = [desk.ask(compute) for _ in range(3)]
    assert not any(answer.done() for answer in answers)
    compute.result.set_result(SCORED)
    assert [answer.result(0) for answer in answers] == [SCORED] * 3
    assert (compute.num_calls, desk.num_shared) == (1, 2)


@pytest.mark.parametrize("other", [("p", "a b"), ("q", "a c"), ("q b", "a")])
def test_other_requests_do_not_share(desk: Desk, other: tuple[str, str]) -> None:
    first, second = Computation(), Computation()
    answers = [desk.ask(first), desk.ask(second, *other)]
    first.result.set_result(SCORED)
    assert [answer.done() for answer in answers] == [True, False]
    assert (first.num_calls, second.num_calls, desk.num_shared) == (1, 1, 0)


def test_requests_that_differ_in_one_token_do_not_share(desk: Desk) -> None:
    words = [f"w{i}" for i in range(40)]
    computations = []
    for at in range(len(words)):
        computations.append(compute := Computation())
        desk.ask(compute, "q", " ".join([*words[:at], "x", *words[at + 1 :]]))
    assert [compute.num_calls for compute in computations] == [1] * len(words)


def test_nothing_is_kept_after_the_answer(desk: Desk) -> None:
    for _ in range(2):
        compute = Computation()
        compute.result.set_result(SCORED)
        assert desk.ask(compute).result(0) == SCORED
        assert compute.num_calls == 1


def test_one_who_goes_leaves_the_others_their_scores(desk: Desk) -> None:
    compute = Computation()
    first, second = desk.ask(compute), desk.ask(compute)
    first.cancel()
    assert not compute.result.cancelled()
    compute.result.set_result(SCORED)
    assert second.result(0) == SCORED


def test_the_computation_ends_when_everybody_has_gone(desk: Desk) -> None:
    compute, next_one = Computation(), Computation()
    for answer in [desk.ask(compute), desk.ask(compute)]:
        assert not compute.result.cancelled()
        answer.cancel()
    assert compute.result.cancelled()
    latecomer = desk.ask(next_one)
    next_one.result.set_result(SCORED)
    assert latecomer.result(0) == SCORED


def test_one_who_goes_before_the_computation_is_there_ends_it(desk: Desk) -> None:
    answer: Answer = Future()
    result: Future[Scored] = Future()

    def compute() -> Future[Scored]:
        answer.cancel()
        return result

    desk.ask(compute, answer=answer)
    assert result.cancelled()


def test_everybody_gets_the_error(desk: Desk) -> None:
    compute = Computation()
    answers = [desk.ask(compute), desk.ask(compute)]
    compute.result.set_exception(InferenceError("no scores"))
    for answer in answers:
        with pytest.raises(InferenceError):
            answer.result(0)


@pytest.mark.parametrize("error", [DeadlineError("too late"), OverloadedError(3)])
def test_the_deadline_of_one_is_not_that_of_another(desk: Desk, error: Exception) -> None:
    first, second = Computation(), Computation()
    early, *late = [desk.ask(first), desk.ask(second), desk.ask(second)]
    first.result.set_exception(error)
    with pytest.raises(type(error)):
        early.result(0)
    assert not any(answer.done() for answer in late)
    second.result.set_result(SCORED)
    assert [answer.result(0) for answer in late] == [SCORED] * 2
    assert (first.num_calls, second.num_calls, desk.num_shared) == (1, 1, 2)


def test_what_cannot_be_computed_is_an_answer_too(desk: Desk) -> None:
    def refuse() -> Future[Scored]:
        raise OverloadedError(3)

    with pytest.raises(OverloadedError):
        desk.ask(refuse).result(0)
    compute = Computation()
    desk.ask(compute)
    assert compute.num_calls == 1
