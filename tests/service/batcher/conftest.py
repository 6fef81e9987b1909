"""A model that does as a request's name says, and a thread for it to run on."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest

from blockrank_server.models.request import EncodedRequest
from blockrank_server.service.batcher import Batcher, Score
from blockrank_server.service.batching import ArrivalOrder

BUDGET = 10
POISON, DEADLY, WRONG_LENGTH, NOT_FINITE = 901, 902, 903, 904


def make_request(num_tokens: int = 5, name: int = 0) -> EncodedRequest:
    """One document; the name is its first token."""
    ids = np.full(num_tokens, name, np.int32)
    span = np.array([[0, num_tokens]], np.int32)
    return EncodedRequest(ids, ids, 0, num_tokens, span, span, (0, 1))


class Model:
    """Scores a request by its name, and keeps the names of each batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def score(self, batch: Sequence[EncodedRequest]) -> list[list[float]]:
        names = [int(r.token_ids[0]) for r in batch]
        self.batches.append(names)
        self.entered.release()
        assert self.gate.wait(60)
        if POISON in names:
            raise ValueError("poison")
        if DEADLY in names:
            raise SystemExit
        special = {WRONG_LENGTH: [1.0, 2.0], NOT_FINITE: [float("nan")]}
        return [special.get(name, [float(name)]) for name in names]


def make_batcher(
    *,
    max_wait_s: float = 0.0,
    max_queue_requests: int = 100,
    max_queue_tokens: int = 1000,
) -> Batcher:
    return Batcher(
        ArrivalOrder(max_batch_tokens=BUDGET, max_wait_s=max_wait_s),
        max_queue_requests=max_queue_requests,
        max_queue_tokens=max_queue_tokens,
    )


@contextmanager
def running(batcher: Batcher, score: Score) -> Iterator[None]:
    def run() -> None:
        try:
            batcher.run(score)
        except SystemExit:
            return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        batcher.close(60)
        thread.join(60)
        assert not thread.is_alive()


MakeRequest = Callable[..., EncodedRequest]
MakeBatcher = Callable[..., Batcher]
Running = Callable[[Batcher, Score], AbstractContextManager[None]]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture(name="make_request")
def make_request_fixture() -> MakeRequest:
    return make_request


@pytest.fixture(name="make_batcher")
def make_batcher_fixture() -> MakeBatcher:
    return make_batcher


@pytest.fixture(name="running")
def running_fixture() -> Running:
    return running
