"""Identical requests at the same time share one computation."""

import asyncio
from collections.abc import Callable

import numpy as np

from blockrank_server.models.request import EncodedRequest
from blockrank_server.service.batching import Scored
from blockrank_server.service.errors import DeadlineError

Compute = Callable[[], asyncio.Future[Scored]]

_NUM_SAMPLED = 256


class SharedScores:
    """Computations under way, by what they compute. For one event loop.

    Args:
        on_shared: called for every request that joins the computation of another.
    """

    def __init__(self, on_shared: Callable[[], None]) -> None:
        self._on_shared = on_shared
        self._under_way: dict[_Same, asyncio.Future[Scored]] = {}
        self._num_waiting: dict[asyncio.Future[Scored], int] = {}

    async def get(self, request: EncodedRequest, compute: Compute) -> Scored:
        """Scores of a request: those of an identical one under way, or its own.

        A computation is cancelled when everybody who waits for it has been.

        Args:
            request: what is computed.
            compute: of this request; not called if another is under way.

        Raises:
            Whatever compute raises.
        """
        key = _Same(request)
        if (future := self._under_way.get(key)) is not None:
            self._on_shared()
            try:
                return await self._wait(key, future)
            except DeadlineError:
                pass  # the other's deadline, which may be earlier
        future = compute()
        self._under_way[key] = future
        future.add_done_callback(lambda future: self._forget(key, future))
        return await self._wait(key, future)

    async def _wait(self, key: "_Same", future: asyncio.Future[Scored]) -> Scored:
        self._num_waiting[future] = self._num_waiting.get(future, 0) + 1
        try:
            return await asyncio.shield(future)
        finally:
            self._num_waiting[future] -= 1
            if not self._num_waiting[future]:
                del self._num_waiting[future]
                self._forget(key, future)  # nobody may join what is being cancelled
                future.cancel()

    def _forget(self, key: "_Same", future: asyncio.Future[Scored]) -> None:
        if self._under_way.get(key) is future:
            del self._under_way[key]


class _Same:
    """A key equal to those of requests that get equal scores from one model.

    The event loop makes one for every request. So it hashes some of the tokens, and compares them
    all only with those few under way that have the same hash: a digest of 17,000 tokens takes
    0.08 ms, this 0.005 ms.
    """

    __slots__ = ("_arrays", "_hash", "_rest")

    def __init__(self, request: EncodedRequest) -> None:
        self._arrays = request.token_ids, request.block_spans, request.scored_spans
        self._rest = request.num_prefix_tokens, request.tail_start, request.signal_span
        step = 1 + len(request.token_ids) // _NUM_SAMPLED
        self._hash = hash((len(request.token_ids), request.token_ids[::-step].tobytes()))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return NotImplemented
        return self._rest == other._rest and all(map(np.array_equal, self._arrays, other._arrays))
