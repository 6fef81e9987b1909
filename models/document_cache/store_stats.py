"""Counts what a document store does."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Failure(StrEnum):
    """Names what went wrong with a file; its document is computed again, or not kept on disk."""

    BROKEN = "broken"
    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Says what the document store has done, and what it holds.

    Attributes:
        hits: documents of requests that were not in memory and were read from the store.
        misses: those that were not there either.
        writes: documents written.
        dropped: those that were not, because too many waited for it or had no room.
        evictions: files that this process has deleted to make room.
        failures: counts what went wrong, by kind.
        read_seconds: the time that requests have waited for reading.
        num_entries: documents in the folder; the prefix is one.
        used_bytes: bytes of their files, by everybody's at the last look and by ours since then.
        max_bytes: the bound; 0: there is no store.
    """

    hits: int = 0
    misses: int = 0
    writes: int = 0
    dropped: int = 0
    evictions: int = 0
    failures: dict[str, int] = field(default_factory=lambda: {kind.value: 0 for kind in Failure})
    read_seconds: float = 0.0
    num_entries: int = 0
    used_bytes: int = 0
    max_bytes: int = 0


class StoreCounters:
    """Adds up what several threads count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._read_seconds = 0.0

    def add(self, name: str, number: int = 1) -> None:
        """Count by the name of an attribute of StoreStats."""
        with self._lock:
            self._counts[name] += number

    def fail(self, kind: Failure) -> None:
        with self._lock:
            self._failures[kind.value] += 1

    def waited(self, seconds: float) -> None:
        """Add to the time that requests have waited for reading."""
        with self._lock:
            self._read_seconds += seconds

    def stats(self, *, num_entries: int, used_bytes: int, max_bytes: int) -> StoreStats:
        with self._lock:
            return StoreStats(
                **self._counts,
                failures={kind.value: self._failures[kind.value] for kind in Failure},
                read_seconds=self._read_seconds,
                num_entries=num_entries,
                used_bytes=used_bytes,
                max_bytes=max_bytes,
            )
