"""Chooses the tokens that a tail sees of a document."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from blockrank_server.kernels.segments import Span


@lru_cache(maxsize=1024)  # documents have few lengths
def kept_tokens(num_tokens: int, scored: Span, stride: int) -> tuple[NDArray[np.int32], Span]:
    """List what a tail sees of a document: the last of every stride tokens and of the block.

    Where none of these is scored, the last scored token is seen, too, if there is any.

    Returns:
        The tokens, counted from the block's first, and the span of those among them that are
        scored.
    """
    is_kept = np.zeros(num_tokens, np.bool_)
    is_kept[stride - 1 :: stride] = True
    is_kept[-1:] = True
    first, last = scored
    if not is_kept[first:last].any():
        is_kept[max(first, last - 1) : last] = True
    tokens = np.flatnonzero(is_kept).astype(np.int32)
    return tokens, (int(np.searchsorted(tokens, first)), int(np.searchsorted(tokens, last)))
