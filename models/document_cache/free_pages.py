"""Knows which pages of a pool hold nothing."""

import numpy as np
from numpy.typing import NDArray


class FreePages:
    """Gives pages out and takes them back. Not thread-safe.

    Args:
        max_pages: counts all pages.

    Attributes:
        num_used: counts those that are given out.
    """

    def __init__(self, max_pages: int) -> None:
        self._max_pages = max_pages
        # The pages never taken yet are a number, not a list: they may be millions.
        self._num_touched = 0
        self._returned: list[int] = []
        self.num_used = 0

    def __len__(self) -> int:
        return self._max_pages - self.num_used

    def take(self, number: int) -> NDArray[np.int64]:
        """Give out so many pages; there must be as many."""
        pages = [self._returned.pop() for _ in range(min(number, len(self._returned)))]
        more = number - len(pages)
        pages.extend(range(self._num_touched, self._num_touched + more))
        self._num_touched += more
        self.num_used += number
        return np.array(pages, np.int64)

    def give_back(self, pages: NDArray[np.int64]) -> None:
        self._returned.extend(pages.tolist())
        self.num_used -= len(pages)
