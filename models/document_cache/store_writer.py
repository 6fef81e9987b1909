"""Writes documents to the store on a thread of its own, so that no request waits for the disk."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from blockrank_server.models.document_cache.document_store import DocumentStore
from blockrank_server.models.document_cache.kept import Kept
from blockrank_server.models.document_cache.store_stats import Failure

_log = logging.getLogger(__name__)


class StoreWriter:
    """Holds the documents that wait to be written.

    Args:
        read: gives the rows of a document, which is pinned until it is released.
        popular: names documents in use that must not look old to the sweeper.
        release: is told of each document that was put, written or not.
        max_pages: bounds what waits; what is put beyond that is dropped.
    """

    def __init__(
        self,
        store: DocumentStore,
        read: Callable[[Kept], Sequence[memoryview]],
        popular: Callable[[], list[bytes]],
        release: Callable[[list[Kept]], None],
        max_pages: int,
    ) -> None:
        self._store, self._read, self._release = store, read, release
        self._popular, self._max_pages = popular, max_pages
        self._changed = threading.Condition()
        self._waiting: deque[Kept] = deque()
        self._num_pages = 0  # of those waiting and of the one in work
        self._is_closing = False
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="document-store", daemon=True)
        self._thread.start()

    def put(self, documents: Sequence[Kept]) -> None:
        """Have documents written, or drop them. Never waits for the disk."""
        dropped = []
        with self._changed:
            for kept in documents:
                if self._is_closing or self._num_pages + len(kept.pages) > self._max_pages:
                    dropped.append(kept)
                else:
                    self._waiting.append(kept)
                    self._num_pages += len(kept.pages)
            self._changed.notify_all()
        if dropped:
            self._store.counters.add("dropped", len(dropped))
            self._release(dropped)

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until all that was put is written, and say whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._num_pages, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Take no more, write what waits, and say whether that could be done in time."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        is_done = self.flush(timeout_s)
        with self._changed:
            dropped = list(self._waiting)
            self._waiting.clear()
            self._num_pages -= sum(len(kept.pages) for kept in dropped)
        self._store.counters.add("dropped", len(dropped))
        self._release(dropped)
        self._thread.join(max(0.0, deadline_s - time.monotonic()))
        return is_done

    def _run(self) -> None:
        self._guarded(self._store.look)
        while (kept := self._next()) is not None:
            self._guarded(lambda kept=kept: self._write(kept))  # type: ignore[misc]
            self._release([kept])
            with self._changed:
                self._num_pages -= len(kept.pages)
                self._changed.notify_all()

    def _next(self) -> Kept | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            return self._waiting.popleft() if self._waiting else None

    def _write(self, kept: Kept) -> None:
        if kept.is_forgotten:
            return
        if self._store.is_look_due(kept):
            # Those that are found in memory are not read here, and would look old.
            self._store.touch(self._popular())
            self._store.look(kept)
        self._store.write(kept, self._read(kept))
        self._is_failing = False

    def _guarded(self, work: Callable[[], None]) -> None:
        """Count and log what goes wrong, once until it goes well: the next file may be written."""
        try:
            work()
        except OSError as error:
            self._store.counters.fail(Failure.WRITE)
            if not self._is_failing:
                _log.error("documents cannot be written to the store: %s", error.strerror)
            self._is_failing = True
        except Exception:
            self._store.counters.fail(Failure.OTHER)
            _log.exception("a document could not be stored")
