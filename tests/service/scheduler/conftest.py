"""A model that does as a request's name says, and a thread for it to run on."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import pytest

from blockrank_server.models.errors import DeviceLostError
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.scheduler.batcher import Batcher
from blockrank_server.service.scheduler.duration_model import DurationModel
from blockrank_server.service.scheduler.job import Drop, Job
from blockrank_server.service.scheduler.policy import BatchingPolicy, BatchLimits
from blockrank_server.service.scheduler.running_batch import BatchReport, Start

BUDGET = 10
POISON, DEADLY, WRONG_LENGTH, NOT_FINITE, LOST, FAILS_LATER = range(901, 907)


def make_request(num_tokens: int = 5, name: int = 0, num_documents: int = 1) -> EncodedRequest:
    """The name is the first token."""
    ids = np.full(num_tokens, name, np.int32)
    spans = np.array([[0, num_tokens]] * num_documents, np.int32)
    return EncodedRequest(ids, ids, 0, num_tokens, spans, spans, (0, 1))


@dataclass
class FakeScores:
    rows: list[list[float]]
    error: BaseException | None = None
    was_split: bool = False
    is_done: bool = False

    def result(self) -> list[list[float]]:
        if self.error is not None:
            raise self.error
        return self.rows

    def levels(self) -> list[float]:
        return [0.0] * len(self.rows)

    def part_shares(self) -> list[list[float]]:
        return [[] for _ in self.rows]


class Model:
    """Scores a request by its name, and keeps the names of each batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.is_done = False
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def start(
        self, batch: Sequence[EncodedRequest], between_steps: Callable[[], None] | None
    ) -> FakeScores:
        names = [int(r.token_ids[0]) for r in batch]
        self.batches.append(names)
        self.entered.release()
        assert self.gate.wait(60)
        if POISON in names:
            raise ValueError("poison")
        if DEADLY in names:
            raise SystemExit
        if LOST in names:
            raise DeviceLostError("the device failed")
        if between_steps is not None:
            between_steps()
        special = {WRONG_LENGTH: [1.0, 2.0, 3.0], NOT_FINITE: [float("nan")]}
        rows = [
            special.get(name, [float(name)] * request.num_documents)
            for name, request in zip(names, batch, strict=True)
        ]
        error = ValueError("late") if FAILS_LATER in names else None
        return FakeScores(rows, error, is_done=self.is_done)


class Observer:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.reports: list[BatchReport] = []
        self.num_failed = 0
        self.busy_s_of_aborted: list[float] = []
        self.drops: list[Drop] = []

    def completed(self, report: BatchReport) -> None:
        self.reports.append(report)

    def failed(self) -> None:
        self.num_failed += 1

    def aborted(self, busy_s: float) -> None:
        self.busy_s_of_aborted.append(busy_s)

    def dropped(self, reason: Drop) -> None:
        self.drops.append(reason)


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


MakeRequest = Callable[..., EncodedRequest]
MakeBatcher = Callable[..., Batcher]
Running = Callable[[Batcher, Start], AbstractContextManager[None]]
RunFor = Callable[[Batcher, EncodedRequest, float], None]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(name="make_request")
def make_request_fixture() -> MakeRequest:
    return make_request


@pytest.fixture
def run_for(model: Model, clock: Clock) -> RunFor:
    """Answers a request by a batch that takes so many seconds; the model's gate is closed then."""

    def run(batcher: Batcher, request: EncodedRequest, seconds: float) -> None:
        model.gate.clear()
        job = batcher.submit(request)
        assert model.entered.acquire(timeout=60)
        clock.now_s += seconds
        model.gate.set()
        job.future.result(60)
        model.gate.clear()

    return run


@pytest.fixture
def make_batcher(observer: Observer, clock: Clock) -> MakeBatcher:
    """A batcher on a clock that stands still."""

    def make(
        *,
        max_wait_s: float = 0.0,
        max_batch_s: float = 20.0,
        max_queue_requests: int = 100,
        max_queue_tokens: int = 1000,
        max_wait_share_of_deadline: float = 1.0,
        is_speed_known: bool = True,
    ) -> Batcher:
        duration_model = DurationModel()
        if is_speed_known:  # as the first batch tells it, on a clock that stands still
            duration_model.record(1e-9, 0.0)
        return Batcher(
            BatchingPolicy(max_wait_s=max_wait_s),
            observer,
            duration_model,
            BatchLimits(
                BUDGET,
                max_batch_s,
                max_queue_requests,
                max_queue_tokens,
                max_wait_share_of_deadline,
            ),
            clock,
        )

    return make


@pytest.fixture
def running() -> Running:
    @contextmanager
    def run(batcher: Batcher, start: Start) -> Iterator[None]:
        def work() -> None:
            with suppress(SystemExit, DeviceLostError, RuntimeError):
                batcher.run(start)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            batcher.close(60)
            thread.join(60)
            assert not thread.is_alive()

    return run


@dataclass
class Busy:
    """At t = 40, one second a token; a job of 40 tokens is in the model until the gate opens."""

    batcher: Batcher
    running: Job
    make_request: MakeRequest

    def submit(self, num_tokens: int, deadline_s: float, name: int = 0) -> Job:
        return self.batcher.submit(self.make_request(num_tokens, name), deadline_s)


@pytest.fixture
def busy(
    model: Model,
    make_batcher: MakeBatcher,
    make_request: MakeRequest,
    running: Running,
    run_for: RunFor,
) -> Iterator[Busy]:
    batcher = make_batcher()
    with running(batcher, model.start):
        run_for(batcher, make_request(40, 1), 40.0)  # t = 40
        job = batcher.submit(make_request(40, 2))
        assert model.entered.acquire(timeout=60)
        yield Busy(batcher, job, make_request)
        model.gate.set()
