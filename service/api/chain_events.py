"""Collects what is written about the documents of one request, until it is sent."""

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wrote:
    """Tells what was added to the chain of a document, by its index among those the model sees."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Scored:
    """Tells the raw score of a document, what ended its chain, and where the score was read."""

    index: int
    score: float
    end: str
    reading: str


class ChainEvents:
    """Listens on the threads that write chains, for a coroutine of one event loop.

    What waits to be sent is bounded by the chains: texts of one document are joined. Where a batch
    failed and is tried again, its chains begin anew, as before to rounding: what was told is not
    told again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._arrived = loop, asyncio.Event()
        self._lock = threading.Lock()  # of all that follows
        self._texts: dict[int, str] = {}
        self._lengths: dict[int, int] = {}
        self._scores: list[Scored] = []
        self._scored: set[int] = set()

    def wrote(self, index: int, start: int, text: str) -> None:
        """Take text of a chain: see models/reasoning/caller.py."""
        with self._lock:
            length = self._lengths.get(index, 0)
            new = text[max(0, length - start) :]
            if not new or index in self._scored:
                return
            self._lengths[index] = start + len(text)
            self._texts[index] = self._texts.get(index, "") + new
        self._wake()

    def scored(self, index: int, score: float, end: str, reading: str) -> None:
        """Take a score: see models/reasoning/caller.py."""
        with self._lock:
            if index in self._scored:
                return
            self._scored.add(index)
            self._scores.append(Scored(index, score, end, reading))
        self._wake()

    def take(self) -> list[Wrote | Scored]:
        """Return what has come since the last call, in an order in which it may have come."""
        with self._lock:
            self._arrived.clear()
            texts, scores = self._texts, self._scores
            self._texts, self._scores = {}, []
        return [*(Wrote(index, text) for index, text in texts.items()), *scores]

    async def wait(self) -> None:
        """Wait until take has something to return."""
        await self._arrived.wait()

    def _wake(self) -> None:
        if not self._arrived.is_set():
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                self._loop.call_soon_threadsafe(self._arrived.set)
