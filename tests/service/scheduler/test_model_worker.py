"""What becomes of a request from the tokenising thread to its scores."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

import pytest
from prometheus_client import CollectorRegistry

from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.metrics import Metrics
from blockrank_server.service.scheduler.model_worker import ModelWorker
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.ranker import Ranker
    from tests.service.conftest import FakeRanker, Gate

Use = Callable[[ModelWorker], Coroutine[Any, Any, None]]


async def until(is_done: Callable[[], bool]) -> None:
    while not is_done():
        await asyncio.sleep(0)


@pytest.fixture
def gated(gate: "Gate") -> "FakeRanker":
    return gate.ranker()


@pytest.fixture
def encode(gated: "FakeRanker") -> Callable[[], EncodedRequest]:
    return lambda: gated.encode("a", ["a b", "c"])


@pytest.fixture
def use(settings: Settings, gated: "FakeRanker", gate: "Gate") -> Callable[[Use], None]:
    """Runs a coroutine function on a worker that is ready, then ends the worker."""

    def run(function: Use) -> None:
        metrics = Metrics(CollectorRegistry(), (), 16_384).scheduler
        worker = ModelWorker(settings, lambda _: cast("Ranker", gated), metrics)

        async def main() -> None:
            worker.start()
            await until(lambda: worker.refusal() is None)
            await function(worker)

        try:
            asyncio.run(asyncio.wait_for(main(), 60))
        finally:
            gate.opened.set()
            assert worker.close(60)

    return run


def test_identical_requests_at_the_same_time_get_the_same_scores(
    use: Callable[[Use], None], gate: "Gate", encode: Callable[[], EncodedRequest]
) -> None:
    async def ask(worker: ModelWorker) -> None:
        gate.opened.set()
        first, second = await asyncio.gather(worker.score(encode), worker.score(encode))
        assert first.scores == second.scores
        assert len(first.scores) == 2

    use(ask)


def test_one_of_two_identical_requests_that_is_cancelled_leaves_the_queue(
    use: Callable[[Use], None],
    gate: "Gate",
    gated: "FakeRanker",
    encode: Callable[[], EncodedRequest],
) -> None:
    async def cancel(worker: ModelWorker) -> None:
        running = asyncio.create_task(worker.score(encode))
        await until(gate.entered.is_set)
        waiting = [asyncio.create_task(worker.score(encode)) for _ in range(2)]
        await until(lambda: worker._batcher.num_requests == 2)
        waiting[0].cancel()
        await until(lambda: worker._batcher.num_requests == 1)
        gate.opened.set()
        answers = await asyncio.gather(running, waiting[1])
        assert [len(each.scores) for each in answers] == [2, 2]
        assert waiting[0].cancelled()

    use(cancel)
    assert gated.batches == [1, 1]


def test_a_request_that_is_cancelled_before_it_waits_is_not_run(
    use: Callable[[Use], None],
    gate: "Gate",
    gated: "FakeRanker",
    encode: Callable[[], EncodedRequest],
) -> None:
    is_tokenising, may_end = threading.Event(), threading.Event()

    def slowly() -> EncodedRequest:
        is_tokenising.set()
        assert may_end.wait(60)
        return encode()

    async def cancel(worker: ModelWorker) -> None:
        gate.opened.set()
        cancelled = asyncio.create_task(worker.score(slowly))
        await until(is_tokenising.is_set)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        may_end.set()
        await until(lambda: worker._pool.num_requests == 0)
        assert len((await worker.score(encode)).scores) == 2

    use(cancel)
    assert gated.batches == [1]


def test_a_request_that_is_cancelled_while_it_runs_costs_nobody_their_scores(
    use: Callable[[Use], None],
    gate: "Gate",
    gated: "FakeRanker",
    encode: Callable[[], EncodedRequest],
) -> None:
    async def cancel(worker: ModelWorker) -> None:
        running = asyncio.create_task(worker.score(encode))
        await until(gate.entered.is_set)
        waiting = asyncio.create_task(worker.score(encode))
        await until(lambda: worker._batcher.num_requests == 1)
        running.cancel()
        gate.opened.set()
        assert len((await waiting).scores) == 2

    use(cancel)
    assert gated.batches == [1, 1]
