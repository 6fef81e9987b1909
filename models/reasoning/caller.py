"""Knows who waits for chains, until when, and who listens to them meanwhile."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Listener(Protocol):
    """Is told of the chains of one request while they are written, on the threads that write them.

    Where a request is tried again, its chains begin anew.
    """

    def wrote(self, index: int, start: int, text: str) -> None:
        """Take what was added to the chain of a document.

        Args:
            index: of the document.
            start: counts the characters of the chain before the text.
        """

    def scored(self, index: int, score: float, end: str, reading: str) -> None:
        """Take the score of a document, what ended its chain, and where the score was read."""


def _never() -> bool:
    return False


@dataclass(slots=True)
class Caller:
    """Waits for the scores of one request; whoever accepts the request says until when.

    Attributes:
        deadline_s: a verdict that is not there shortly before this moment of time.monotonic is
            forced.
        is_gone: says whether nobody waits any more.
        listener: is told of every chain; None where nobody listens.
    """

    deadline_s: float = math.inf
    is_gone: Callable[[], bool] = _never
    listener: Listener | None = None
