"""Puts a document store behind the memory in which a ranker keeps documents.

    a request is read:  memory --> store --> into pages of the memory --> held by the request
    a batch has ended:  its new documents --> a bounded queue --> store

Requests are read on the tokenising threads, so the thread that owns the model never waits for the
disk.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from blockrank_server.models.document_cache.document_cache import DocumentCache, Lease
from blockrank_server.models.document_cache.document_store import DocumentStore
from blockrank_server.models.document_cache.kept import Kept
from blockrank_server.models.document_cache.store_stats import StoreStats
from blockrank_server.models.document_cache.store_writer import StoreWriter
from blockrank_server.models.engine.page_pool import PagePool

# Reading waits for the disk, and checking for a core.
_NUM_READERS = 4
# What waits to be written is held in memory, and the other half must do for new documents.
_WAITING_SHARE = 0.5
# Another request reads the same document; to compute it would take as long.
_MAX_WAIT_S = 10.0


class DiskTier:
    """Reads documents from a store into memory, and writes new ones. Thread-safe.

    Args:
        cache: says which documents are in memory.
        pool: holds their keys and values.
        max_pages: counts the pages of the pool.
    """

    def __init__(
        self, store: DocumentStore, cache: DocumentCache, pool: PagePool, max_pages: int
    ) -> None:
        self._store, self._cache, self._pool = store, cache, pool
        self._readers = ThreadPoolExecutor(_NUM_READERS, "read-documents")
        waiting = int(_WAITING_SHARE * max_pages)
        self._writer = StoreWriter(store, pool.read, cache.popular, cache.unpin, waiting)
        self._lock = threading.Lock()
        self._being_read: dict[bytes, threading.Event] = {}

    def load(self, lease: Lease, accepts_cut: bool) -> None:
        """Read the documents that a lease does not hold, as far as they are there.

        Two requests that miss the same document read it once.

        Args:
            accepts_cut: also reads documents whose end was cut off.
        """
        places = [i for i, kept in enumerate(lease.entries) if kept is None]
        started_s = time.perf_counter()
        there = {lease.digests[i]: i for i in places if self._store.has(lease.digests[i])}
        if there:
            mine, others = self._claim(list(there))
            try:
                found = list(self._readers.map(lambda each: self._load(each, accepts_cut), mine))
            finally:
                self._release(mine)
            for kept in filter(None, found):
                lease.hold(there[kept.digest], kept)
            for event in others:
                event.wait(_MAX_WAIT_S)
            # Also what is in the list twice.
            self._cache.fill(lease, accepts_cut=accepts_cut)
            self._store.counters.waited(time.perf_counter() - started_s)
        num_missing = sum(lease.entries[i] is None for i in places if i)
        self._store.counters.add("hits", sum(i > 0 for i in places) - num_missing)
        self._store.counters.add("misses", num_missing)

    def keep(self, documents: Sequence[Kept]) -> None:
        """Have documents written that are committed, each with one pin for this."""
        self._writer.put(documents)

    def has(self, digest: bytes) -> bool:
        """Say whether a document is in the store, broken or not."""
        return self._store.has(digest)

    def delete(self, digests: Sequence[bytes]) -> None:
        """Delete documents from the store.

        Raises:
            OSError: some could not be.
        """
        self._store.delete(digests)

    def stats(self) -> StoreStats:
        return self._store.stats()

    def flush(self) -> None:
        """Wait until all that was to be written is."""
        self._writer.flush()

    def close(self, timeout_s: float) -> bool:
        """Write what waits, and say whether that could be done in time."""
        return self._writer.close(timeout_s)

    def _load(self, digest: bytes, accepts_cut: bool) -> Kept | None:
        """Read a document, and give it with one pin; None where that cannot be."""
        if (file := self._store.open_file(digest)) is None:
            return None
        with file:
            kept = file.kept
            if (kept.is_cut and not accepts_cut) or not self._cache.place(kept):
                return None
            is_whole = False
            try:
                with self._pool.write(kept) as buffers:
                    is_whole = self._store.read(file, buffers)
            finally:
                if not is_whole:
                    self._cache.give_back([kept])
        if not is_whole:
            return None
        return next(iter(self._cache.commit([kept], num_pins=1)), None)

    def _claim(self, digests: Sequence[bytes]) -> tuple[list[bytes], list[threading.Event]]:
        """Return those that nobody reads yet, and what to wait for because of the others."""
        with self._lock:
            mine = [digest for digest in digests if digest not in self._being_read]
            others = [self._being_read[each] for each in digests if each in self._being_read]
            self._being_read |= {digest: threading.Event() for digest in mine}
        return mine, others

    def _release(self, digests: Sequence[bytes]) -> None:
        with self._lock:
            events = [self._being_read.pop(digest) for digest in digests]
        for event in events:
            event.set()
