"""Describes a document whose keys and values are kept."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]
PAGE_ROWS = 16
"""Rows of one page: a document of 177 tokens wastes a twentieth of its pages."""


def _no_pages() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(slots=True, eq=False)
class Kept:
    """Names one document, or the prefix, and the pages in which its keys and values stand.

    Attributes:
        digest: names its text and all that they depend on besides.
        num_tokens: counts the tokens of its block.
        num_rows: counts those of them that a tail sees, which are kept.
        scored: the scored ones among those.
        is_cut: whether its end was cut off.
        pages: hold PAGE_ROWS rows each, the last one maybe fewer.
        num_pins: how many leases hold it; while there are any, its pages are not given away.
        is_forgotten: whether it may not be found any more, and nothing of it may be written.
    """

    digest: bytes
    num_tokens: int
    num_rows: int
    scored: Span
    is_cut: bool
    pages: NDArray[np.int64] = field(default_factory=_no_pages)
    num_pins: int = 0
    is_forgotten: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class NewDocument:
    """Names a document, or the prefix, that a batch computes and that may be kept for others.

    Attributes:
        digest: its name in the cache.
        num_tokens: counts the tokens of its block.
        tokens: int32, the tokens of the batch that a tail sees of it.
        scored: the scored ones among those.
        is_cut: whether its end was cut off.
    """

    digest: bytes
    num_tokens: int
    tokens: NDArray[np.int32]
    scored: Span
    is_cut: bool


def num_pages(num_rows: int) -> int:
    """Count the pages that hold so many rows."""
    return -(-num_rows // PAGE_ROWS)
