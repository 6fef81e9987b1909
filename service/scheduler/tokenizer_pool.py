"""Holds the threads on which requests are read and tokenised."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class TokenizerPool:
    """Prepares requests on threads of its own.

    Attributes:
        num_requests: how many are not prepared yet.
    """

    def __init__(self, num_threads: int) -> None:
        self._executor = ThreadPoolExecutor(num_threads, "tokenize")
        self._lock = threading.Lock()  # of num_requests
        self.num_requests = 0

    def start(
        self, prepare: Callable[[], T], then: Callable[[T], None], answer: "Future[Any]"
    ) -> None:
        """Prepare a request on one of the threads, and go on with what that gives.

        Args:
            prepare: while it waits and runs, the request counts.
            then: sets the answer, now or later.
            answer: gets what either raises. Cancelled, it takes the request back.
        """
        with self._lock:
            self.num_requests += 1
        self._executor.submit(self._work, prepare, then, answer)

    def close(self) -> None:
        """Take no more; what was started is prepared, unless its caller has gone."""
        self._executor.shutdown(wait=False)

    def _work(
        self, prepare: Callable[[], T], then: Callable[[T], None], answer: "Future[Any]"
    ) -> None:
        try:
            try:
                if answer.cancelled():
                    return
                prepared = prepare()
            finally:
                with self._lock:
                    self.num_requests -= 1
            then(prepared)
        except BaseException as error:
            with suppress(InvalidStateError):  # the caller has gone meanwhile
                answer.set_exception(error)
