"""Holds scores that were there when the call that made them returned."""

from dataclasses import dataclass


@dataclass(slots=True)
class FinishedScores:
    """Holds the scores of a batch, as PendingScores does; there is nothing to wait for.

    Attributes:
        rows: the score of every document, one row a request.
    """

    rows: list[list[float]]
    was_split: bool = False
    is_done: bool = True

    def result(self) -> list[list[float]]:
        """Return the score of every document, one row a request."""
        return self.rows

    def levels(self) -> list[float]:
        """Return 0 for each request: scores belong to no list."""
        return [0.0] * len(self.rows)

    def part_shares(self) -> list[list[float]]:
        """Return nothing for each request: there are no parts."""
        return [[] for _ in self.rows]
