import asyncio
from typing import TYPE_CHECKING

import pytest

from blockrank_server.service.batching import Scored
from blockrank_server.service.errors import DeadlineError, OverloadedError
from blockrank_server.service.shared_scores import Compute, SharedScores

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker

SCORED = Scored([1.0], 0.0, 0.0)


class Computation:
    """Waits to be told its result."""

    def __init__(self) -> None:
        self.result: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        self.num_calls = 0

    def __call__(self) -> asyncio.Future[Scored]:
        self.num_calls += 1
        return self.result


class Desk:
    """Requests of a ranker to one SharedScores."""

    def __init__(self, ranker: "FakeRanker") -> None:
        self.num_shared = 0
        self.shared = SharedScores(self._count)
        self._ranker = ranker

    async def ask(
        self, compute: Compute, query: str = "q", document: str = "a b"
    ) -> asyncio.Task[Scored]:
        """A caller, as far as it gets before it has to wait."""
        request = self._ranker.encode(query, [document] * 8)
        task = asyncio.create_task(self.shared.get(request, compute))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task

    def _count(self) -> None:
        self.num_shared += 1


@pytest.fixture
def desk(fake_ranker: "type[FakeRanker]") -> Desk:
    return Desk(fake_ranker())


def test_identical_requests_share_one_computation(desk: Desk) -> None:
    async def work() -> None:
        compute = Computation()
        callers = [await desk.ask(compute) for _ in range(3)]
        compute.result.set_result(SCORED)
        assert await asyncio.gather(*callers) == [SCORED] * 3
        assert (compute.num_calls, desk.num_shared) == (1, 2)

    asyncio.run(work())


@pytest.mark.parametrize("other", [("p", "a b"), ("q", "a c"), ("q b", "a")])
def test_other_requests_do_not_share(desk: Desk, other: tuple[str, str]) -> None:
    async def work() -> None:
        first, second = Computation(), Computation()
        callers = [await desk.ask(first), await desk.ask(second, *other)]
        first.result.set_result(SCORED)
        second.result.set_result(SCORED)
        await asyncio.gather(*callers)
        assert (first.num_calls, second.num_calls, desk.num_shared) == (1, 1, 0)

    asyncio.run(work())


def test_requests_that_differ_in_one_token_do_not_share(desk: Desk) -> None:
    async def work() -> None:
        words = [f"w{i}" for i in range(40)]
        computations = []
        for at in range(len(words)):
            changed = " ".join([*words[:at], "x", *words[at + 1 :]])
            computations.append((compute := Computation(), await desk.ask(compute, "q", changed)))
        for compute, caller in computations:
            compute.result.set_result(SCORED)
            await caller
        assert [compute.num_calls for compute, _ in computations] == [1] * len(words)

    asyncio.run(work())


def test_nothing_is_kept_after_the_answer(desk: Desk) -> None:
    async def work() -> None:
        for _ in range(2):
            compute = Computation()
            compute.result.set_result(SCORED)
            assert await (await desk.ask(compute)) == SCORED
            assert compute.num_calls == 1

    asyncio.run(work())


def test_one_who_goes_leaves_the_others_their_scores(desk: Desk) -> None:
    async def work() -> None:
        compute = Computation()
        first, second = await desk.ask(compute), await desk.ask(compute)
        first.cancel()
        await asyncio.wait((first,))
        assert not compute.result.cancelled()
        compute.result.set_result(SCORED)
        assert await second == SCORED

    asyncio.run(work())


def test_the_computation_ends_when_everybody_has_gone(desk: Desk) -> None:
    async def work() -> None:
        compute, next_one = Computation(), Computation()
        callers = [await desk.ask(compute), await desk.ask(compute)]
        for caller in callers:
            caller.cancel()
        latecomer = await desk.ask(next_one)
        await asyncio.wait(callers)
        assert compute.result.cancelled()
        next_one.result.set_result(SCORED)
        assert await latecomer == SCORED

    asyncio.run(work())


def test_everybody_gets_the_error(desk: Desk) -> None:
    async def work() -> None:
        compute = Computation()
        callers = [await desk.ask(compute), await desk.ask(compute)]
        compute.result.set_exception(OverloadedError(3))
        for caller in callers:
            with pytest.raises(OverloadedError):
                await caller

    asyncio.run(work())


def test_the_deadline_of_one_is_not_that_of_another(desk: Desk) -> None:
    async def work() -> None:
        first, second = Computation(), Computation()
        early, late = await desk.ask(first), await desk.ask(second)
        second.result.set_result(SCORED)
        first.result.set_exception(DeadlineError("too late"))
        assert await late == SCORED
        with pytest.raises(DeadlineError):
            await early
        assert (first.num_calls, second.num_calls) == (1, 1)

    asyncio.run(work())
