"""Defines what can be wrong with lists and judgements on disk."""

from collections.abc import Sequence

from blockrank_server.models.errors import RankerError

_MAX_SHOWN = 10


class DataError(RankerError, ValueError):
    """Lists or judgements cannot be used.

    Args:
        faults: one sentence each, with file and line; never text of a document.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        shown = "; ".join(faults[:_MAX_SHOWN])
        more = len(faults) - _MAX_SHOWN
        super().__init__(f"{shown}; and {more} more" if more > 0 else shown)
        self.faults = tuple(faults)
