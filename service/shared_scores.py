"""Identical requests at the same time share one computation."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from blockrank_server.models.request import EncodedRequest
from blockrank_server.service.batching import Scored
from blockrank_server.service.errors import DeadlineError

Compute = Callable[[], Awaitable[Scored]]


class SharedScores:
    """Computations under way, by what they compute. For one event loop.

    Args:
        on_shared: called for every request that joins the computation of another.
    """

    def __init__(self, on_shared: Callable[[], None]) -> None:
        self._on_shared = on_shared
        self._tasks: dict[bytes, asyncio.Task[Scored]] = {}
        self._num_waiting: dict[asyncio.Task[Scored], int] = {}

    async def get(self, request: EncodedRequest, compute: Compute) -> Scored:
        """Scores of a request: those of an identical one under way, or its own.

        A computation is cancelled when everybody who waits for it has been.

        Args:
            request: what is computed.
            compute: of this request; not called if another is under way.

        Raises:
            Whatever compute raises.
        """
        key = _key(request)
        if (task := self._tasks.get(key)) is not None:
            self._on_shared()
            try:
                return await self._wait(key, task)
            except DeadlineError:
                pass  # the other's deadline, which may be earlier
        task = asyncio.ensure_future(compute())
        self._tasks[key] = task
        task.add_done_callback(lambda task: self._forget(key, task))
        return await self._wait(key, task)

    async def _wait(self, key: bytes, task: asyncio.Task[Scored]) -> Scored:
        self._num_waiting[task] = self._num_waiting.get(task, 0) + 1
        try:
            return await asyncio.shield(task)
        finally:
            self._num_waiting[task] -= 1
            if not self._num_waiting[task]:
                del self._num_waiting[task]
                self._forget(key, task)  # nobody may join what is being cancelled
                task.cancel()

    def _forget(self, key: bytes, task: asyncio.Task[Scored]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]


def _key(request: EncodedRequest) -> bytes:
    """Equal for requests that get equal scores from one model."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (request.token_ids, request.block_spans, request.scored_spans):
        digest.update(array.tobytes())
        digest.update(b"/")
    rest = request.num_prefix_tokens, request.tail_start, request.signal_span
    digest.update(repr(rest).encode())
    return digest.digest()
