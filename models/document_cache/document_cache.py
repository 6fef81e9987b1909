"""Keeps documents' keys and values within a bound: who is known, who is in use, who gives way.

The bytes themselves stand in a pool (models/engine/page_pool.py); here they are numbers of pages.
Pages, not spans: documents of all lengths come and go for months, and pages never fall into pieces
that fit nothing, while what is in use could not be moved together.

The life of a document:

    reserve --> its pages are written --> commit --> found, pinned by leases --> gives way
                                     \\-> give_back, where its batch failed

It cannot be found before it is whole. Two batches that run at the same time may both compute it;
the second one's pages are given back.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from blockrank_server.models.document_cache.free_pages import FreePages
from blockrank_server.models.document_cache.kept import Kept, NewDocument, num_pages
from blockrank_server.models.document_cache.segmented_lru import SegmentedLru


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Says what the cache has done, and what it holds now.

    Attributes:
        hits: documents of requests that were known when the request was read.
        misses: those that were not.
        evictions: documents that gave way to others.
        num_entries: documents kept now; the prefix is one.
        used_bytes: bytes of the pages taken.
        max_bytes: the bound.
    """

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    num_entries: int = 0
    used_bytes: int = 0
    max_bytes: int = 0


class Lease:
    """Names the documents of one request that are known, held as long as this object lives.

    Attributes:
        digests: that of the prefix, then those of the documents.
        entries: for each digest what is kept, or None.
    """

    def __init__(self, cache: "DocumentCache", digests: Sequence[bytes]) -> None:
        self._cache = cache
        self.digests = digests
        self.entries: list[Kept | None] = [None] * len(digests)
        self.num_known_tokens = 0

    def __del__(self) -> None:
        # However a request ends, answered, refused, cancelled or failed, this is where it ends.
        self._cache.unpin([kept for kept in self.entries if kept is not None])

    @property
    def num_known_documents(self) -> int:
        return sum(kept is not None for kept in self.entries[1:])

    def hold(self, place: int, kept: Kept) -> None:
        """Take over one pin of a document that was found elsewhere, until this object ends."""
        self.entries[place] = kept
        self.num_known_tokens += kept.num_tokens

    def renew(self) -> None:
        """Look again for what was not known."""
        self._cache.fill(self)


class DocumentCache:
    """Finds, takes in and gives up documents. Thread-safe.

    Args:
        max_pages: the bound.
        page_bytes: bytes of one page, over all layers.
    """

    def __init__(self, max_pages: int, page_bytes: int) -> None:
        self._max_pages, self._page_bytes = max_pages, page_bytes
        self._lock = threading.Lock()
        self._lru = SegmentedLru(max_pages)
        self._free = FreePages(max_pages)
        # Filled without the lock: the garbage collector may end a lease at any moment, also on a
        # thread that holds it.
        self._unpinned: deque[list[Kept]] = deque()
        self._hits = self._misses = self._evictions = 0

    def find(self, digests: Sequence[bytes], *, accepts_cut: bool = True) -> Lease:
        """Look for the prefix and the documents of a request, and hold those that are known.

        Args:
            digests: that of the prefix, then those of the documents.
            accepts_cut: also finds documents whose end was cut off.
        """
        lease = Lease(self, digests)
        self.fill(lease, accepts_cut=accepts_cut)
        with self._lock:
            self._hits += lease.num_known_documents
            self._misses += len(digests) - 1 - lease.num_known_documents
        return lease

    def fill(self, lease: Lease, *, accepts_cut: bool = True) -> None:
        """Look for the documents that a lease does not hold yet."""
        if None not in lease.entries:
            return
        with self._lock:
            self._settle()  # where everything is known, nothing else does for hours
            for i, (digest, kept) in enumerate(zip(lease.digests, lease.entries, strict=True)):
                if kept is not None or (found := self._lru.use(digest)) is None:
                    continue
                if accepts_cut or not found.is_cut:
                    found.num_pins += 1
                    lease.entries[i] = found
                    lease.num_known_tokens += found.num_tokens

    def unpin(self, entries: list[Kept]) -> None:
        """Let go of what a lease held."""
        self._unpinned.append(entries)

    def count_known(self, digests: Iterable[bytes]) -> int:
        """Count those that can be found, without counting them as asked for."""
        with self._lock:
            return sum(digest in self._lru for digest in digests)

    def popular(self) -> list[bytes]:
        """Name those that were asked for more than once."""
        with self._lock:
            return self._lru.protected()

    def reserve(self, new: NewDocument) -> Kept | None:
        """Take pages for a document that is about to be computed, as place does.

        Returns:
            None where place takes none: then it is computed and not kept.
        """
        kept = Kept(new.digest, new.num_tokens, len(new.tokens), new.scored, new.is_cut)
        return kept if self.place(kept) else None

    def place(self, kept: Kept) -> bool:
        """Take pages for a document whose keys and values are about to be written.

        Others on probation give way.

        Returns:
            False where too few of them are free of leases, or where the document is known.
        """
        needed = num_pages(kept.num_rows)
        with self._lock:
            self._settle()
            if kept.digest in self._lru or not self._make_room(needed):
                return False
            kept.pages = self._free.take(needed)
        return True

    def commit(self, written: Iterable[Kept], *, num_pins: int = 0) -> list[Kept]:
        """Let documents be found whose pages are written.

        Args:
            num_pins: how many leases each is held by from the start.

        Returns:
            Those that nobody else has committed meanwhile.
        """
        added = []
        with self._lock:
            for kept in written:
                if kept.digest in self._lru:
                    self._free.give_back(kept.pages)
                else:
                    kept.num_pins += num_pins
                    self._lru.add(kept)
                    added.append(kept)
        return added

    def forget(self, digests: Iterable[bytes]) -> None:
        """Let documents be found no more. The pages of those in use are freed when they are not."""
        with self._lock:
            self._settle()
            for digest in digests:
                if (kept := self._lru.pop(digest)) is None:
                    continue
                kept.is_forgotten = True
                if not kept.num_pins:
                    self._free.give_back(kept.pages)

    def give_back(self, reserved: Iterable[Kept]) -> None:
        """Free the pages of documents that will not be written to their end."""
        with self._lock:
            for kept in reserved:
                self._free.give_back(kept.pages)

    def clear(self) -> None:
        """Forget every document, and what was counted; no lease or batch may hold any."""
        with self._lock:
            self._settle()
            self._lru = SegmentedLru(self._max_pages)
            self._free = FreePages(self._max_pages)
            self._hits = self._misses = self._evictions = 0

    def stats(self) -> CacheStats:
        with self._lock:
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                num_entries=len(self._lru),
                used_bytes=self._free.num_used * self._page_bytes,
                max_bytes=self._max_pages * self._page_bytes,
            )

    def _settle(self) -> None:
        """Take the pins off what leases have let go of; the lock is held."""
        while self._unpinned:
            for kept in self._unpinned.popleft():
                kept.num_pins -= 1
                if kept.is_forgotten and not kept.num_pins:
                    self._free.give_back(kept.pages)

    def _make_room(self, needed: int) -> bool:
        """Evict until so many pages are free, or nothing if that cannot be; the lock is held."""
        missing = needed - len(self._free)
        if missing <= 0:
            return True
        victims = []
        for kept in self._lru.victims():
            victims.append(kept)
            missing -= len(kept.pages)
            if missing <= 0:
                break
        else:
            return False
        for kept in victims:
            self._lru.remove(kept)
            self._free.give_back(kept.pages)
        self._evictions += len(victims)
        return True
