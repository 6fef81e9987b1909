"""Continues chains by a server of completions: the remote engine of reasoning."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from blockrank_server.models.errors import AbandonedError, EngineError, EngineUnavailableError
from blockrank_server.models.reasoning.caller import Caller
from blockrank_server.models.reasoning.chain import Chain
from blockrank_server.models.reasoning.chain_pace import ChainPace
from blockrank_server.models.remote.chain_writer import ChainWriter
from blockrank_server.models.remote.client import CompletionsClient
from blockrank_server.models.remote.handshake import Agreement
from blockrank_server.models.remote.loop_thread import LoopThread
from blockrank_server.models.remote.streams import Streams

# How often callers are looked at: whether they wait, and whether their deadline is near.
_LOOK_S = 0.05
_HEALTH_S = 2.0


@dataclass(slots=True)
class _Writing:
    chain: Chain
    limit: asyncio.Timeout
    task: "asyncio.Task[None]"


class RemoteEngine:
    """Brings chains to their scores by a server of completions: see Continues. Thread-safe.

    Args:
        loop: runs all of it.
        agreed: what is known of the server.
        num_vocabulary: the ids that stand for a token.
        max_streams: how many chains are written at once; the others wait.

    Attributes:
        fault: why the server cannot be asked at present; None while it can.
    """

    def __init__(
        self,
        loop: LoopThread,
        client: CompletionsClient,
        agreed: Agreement,
        pace: ChainPace,
        num_vocabulary: int,
        max_streams: int,
    ) -> None:
        self._loop, self._client, self._pace = loop, client, pace
        self._streams, self._max_streams = Streams(max_streams), max_streams
        self._writer = ChainWriter(client, agreed.readings, num_vocabulary, self._streams, pace)
        self.fault: str | None = None
        self._watch = loop.start(self._watch_health(agreed.health))

    @property
    def has_room(self) -> bool:
        """Say whether a chain that comes now need not wait for others."""
        return self._streams.num_waiting == 0

    def finish(
        self, chains: Sequence[Chain], between_steps: Callable[[], None] | None = None
    ) -> None:
        """Bring every chain to its score: see Continues.finish.

        Raises:
            EngineError: a chain could not be written.
            AbandonedError: all callers have gone.
        """
        written = self.start(chains)
        try:
            while between_steps is not None and not written.done():
                between_steps()
                time.sleep(_LOOK_S)
            written.result()
        finally:
            written.cancel()

    def start(self, chains: Sequence[Chain]) -> "Future[None]":
        """Begin to bring every chain to its score; done when all have theirs, or one has failed."""
        return self._loop.start(self._finish(list(chains)))

    def close(self) -> None:
        """End all streams, and the thread."""
        self._loop.start(self._client.close()).result()
        self._loop.close()

    async def _finish(self, chains: list[Chain]) -> None:
        writings = list(map(self._begin, chains))
        waiting = {each.task for each in writings}
        try:
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting, timeout=_LOOK_S, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in done:
                    if not task.cancelled():  # its caller has gone
                        task.result()
                self._look(writings)
        except EngineUnavailableError as error:
            if error.is_lost:  # until its health is looked at, nothing more is sent
                self.fault = self.fault or str(error)
            raise
        finally:
            for each in waiting:
                each.cancel()
            # All of them: several may have failed, of which one is told.
            await asyncio.gather(*(each.task for each in writings), return_exceptions=True)

    def _begin(self, chain: Chain) -> _Writing:
        # Where there is no time for a chain, its verdict is asked for at once.
        limit = asyncio.timeout(0 if self._is_late(chain.caller, 1) else None)
        return _Writing(chain, limit, asyncio.create_task(self._writer.write(chain, limit)))

    def _look(self, writings: list[_Writing]) -> None:
        """Cut the chains whose callers' deadlines are near, and end those of callers gone."""
        live = [each for each in writings if each.chain.reading is None]
        callers = {id(each.chain.caller): each.chain.caller for each in live}
        gone = {key for key, caller in callers.items() if caller.is_gone()}
        if live and len(gone) == len(callers):
            raise AbandonedError("nobody waits for the scores any more")
        late = {key for key, caller in callers.items() if self._is_late(caller, len(live))}
        for each in live:
            key = id(each.chain.caller)
            if key in gone:
                each.task.cancel()
                each.chain.give_up()
            elif key in late and each.chain.is_live:
                _end_now(each.limit)

    def _is_late(self, caller: Caller, num_chains: int) -> bool:
        """Say whether so many verdicts have to be forced now, to be there in time."""
        rounds = -(-num_chains // self._max_streams)
        return time.monotonic() + rounds * self._pace.forcing_s(0) >= caller.deadline_s

    async def _watch_health(self, path: str) -> None:
        while True:
            await asyncio.sleep(_HEALTH_S)
            try:
                is_healthy = await self._client.is_healthy(path)
            except EngineError as error:
                self.fault = str(error)
            else:
                self.fault = None if is_healthy else "the engine is not healthy"


def _end_now(limit: asyncio.Timeout) -> None:
    when = limit.when()
    now_s = asyncio.get_running_loop().time()
    if when is None or when > now_s:
        limit.reschedule(now_s)
