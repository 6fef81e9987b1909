"""Knows who waits for chains, and until when."""

import math
from collections.abc import Callable
from dataclasses import dataclass


def _never() -> bool:
    return False


@dataclass(slots=True)
class Caller:
    """Waits for the scores of one request; whoever accepts the request says until when.

    Attributes:
        deadline_s: a verdict that is not there shortly before this moment of time.monotonic is
            forced.
        is_gone: says whether nobody waits any more.
    """

    deadline_s: float = math.inf
    is_gone: Callable[[], bool] = _never
