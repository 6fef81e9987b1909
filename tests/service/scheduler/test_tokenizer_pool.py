import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from blockrank_server.service.scheduler.tokenizer_pool import TokenizerPool


@pytest.fixture
def pool() -> TokenizerPool:
    return TokenizerPool(1)


def test_what_was_prepared_goes_on_and_no_longer_counts(pool: TokenizerPool) -> None:
    answer: Future[tuple[int, int, int]] = Future()

    def prepare() -> int:
        return pool.num_requests

    def go_on(counted: int) -> None:
        answer.set_result((7, counted, pool.num_requests))

    pool.start(prepare, go_on, answer)
    assert answer.result(60) == (7, 1, 0)


def fail(*_: object) -> Any:
    raise ValueError("a fault")


@pytest.mark.parametrize(("prepare", "go_on"), [(fail, print), (int, fail)])
def test_what_either_raises_is_the_answer(
    prepare: Callable[[], int], go_on: Callable[[int], None], pool: TokenizerPool
) -> None:
    answer: Future[None] = Future()
    pool.start(prepare, go_on, answer)
    with pytest.raises(ValueError, match="a fault"):
        answer.result(60)
    assert pool.num_requests == 0


def test_a_request_taken_back_is_not_prepared(pool: TokenizerPool) -> None:
    gate = threading.Event()
    first, second, third = Future[bool](), Future[bool](), Future[bool]()
    prepared: list[str] = []
    pool.start(lambda: gate.wait(60), first.set_result, first)
    pool.start(lambda: prepared.append("second"), print, second)
    pool.start(lambda: True, third.set_result, third)
    assert pool.num_requests == 3
    second.cancel()
    gate.set()
    assert (first.result(60), third.result(60)) == (True, True)
    assert prepared == []
    assert pool.num_requests == 0


def test_one_who_goes_while_it_is_prepared_is_no_fault(pool: TokenizerPool) -> None:
    gone, next_one = Future[bool](), Future[bool]()
    pool.start(gone.cancel, gone.set_result, gone)
    pool.start(lambda: True, next_one.set_result, next_one)
    assert next_one.result(60)
