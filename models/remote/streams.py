"""Bounds the calls that are open at once. All of it runs on one event loop."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Streams:
    """Gives a place to each call: to urgent ones first, to others in the order in which they came.

    Attributes:
        num_waiting: how many calls wait for a place. Safe to read on any thread.
    """

    def __init__(self, max_open: int) -> None:
        self._num_free = max_open
        self._waiting: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque())
        self.num_waiting = 0

    @asynccontextmanager
    async def place(self, *, is_urgent: bool = False) -> AsyncIterator[None]:
        """Wait for a place, and keep it for the block."""
        if self._num_free:
            self._num_free -= 1
        else:
            await self._wait(self._waiting[0 if is_urgent else 1])
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, queue: "deque[asyncio.Future[None]]") -> None:
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self.num_waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._pass_on()  # the place came together with the end of the wait
            raise
        finally:
            self.num_waiting -= 1

    def _pass_on(self) -> None:
        for queue in self._waiting:
            while queue:
                turn = queue.popleft()
                if not turn.done():  # else its call has been cancelled
                    turn.set_result(None)
                    return
        self._num_free += 1
