"""Decides which kept documents give way to new ones.

A segmented LRU (Karedla, Love and Wherry, 1994): a document that was asked for once is on
probation, one that was asked for again is protected. New documents displace only those on
probation, so that a scan of documents which never come back washes nothing popular out.

    new --> probation --asked for again--> protected
               ^ |                             |
               | +--> out                      |
               +------ the least recently used +
"""

from collections import OrderedDict
from collections.abc import Iterator

from blockrank_server.models.document_cache.kept import Kept

# The rest is left to new documents, however many old ones are popular.
_PROTECTED_SHARE = 0.8
MIN_DOCUMENTS = 5
"""A cache of so many of the longest documents has room for a new one beside all protected ones."""


class SegmentedLru:
    """Knows documents by digest, the least recently used of each segment first.

    Args:
        max_pages: counts the pages of the whole cache.
    """

    def __init__(self, max_pages: int) -> None:
        self._max_protected = int(_PROTECTED_SHARE * max_pages)
        self._num_protected = 0  # pages
        self._probation: OrderedDict[bytes, Kept] = OrderedDict()
        self._protected: OrderedDict[bytes, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._probation) + len(self._protected)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._probation or digest in self._protected

    def use(self, digest: bytes) -> Kept | None:
        """Find a document that is asked for, and remember that it was."""
        if (kept := self._protected.get(digest)) is not None:
            self._protected.move_to_end(digest)
            return kept
        if (kept := self._probation.pop(digest, None)) is None:
            return None
        self._protected[digest] = kept
        self._num_protected += len(kept.pages)
        while self._num_protected > self._max_protected:
            other, demoted = self._protected.popitem(last=False)
            self._num_protected -= len(demoted.pages)
            self._probation[other] = demoted
        return kept

    def add(self, kept: Kept) -> None:
        """Put a document on probation; it must not be there."""
        self._probation[kept.digest] = kept

    def victims(self) -> Iterator[Kept]:
        """Give the documents that may give way, in that order; none may be removed meanwhile."""
        return (kept for kept in self._probation.values() if not kept.num_pins)

    def remove(self, kept: Kept) -> None:
        """Take out a document on probation."""
        del self._probation[kept.digest]

    def pop(self, digest: bytes) -> Kept | None:
        """Take out a document of either segment, if it is there."""
        if (kept := self._protected.pop(digest, None)) is not None:
            self._num_protected -= len(kept.pages)
            return kept
        return self._probation.pop(digest, None)

    def protected(self) -> list[bytes]:
        return list(self._protected)
