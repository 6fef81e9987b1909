"""Defines what every scorer of lists has in common."""

from collections.abc import Callable, Sequence
from typing import Protocol

from blockrank_server.models.data.shortlists import Shortlist

Scores = list[float] | None
"""One a document in the list's order; None where the scorer gave no answer."""
Progress = Callable[[int], None]
"""Told how many lists have been done since."""


class Scorer(Protocol):
    """Scores lists, by whatever means."""

    def __call__(self, lists: Sequence[Shortlist], progress: Progress) -> list[Scores]:
        """Return the scores of every list, in the lists' order."""
