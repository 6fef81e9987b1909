"""Holds scores to come of chains that another server writes."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from blockrank_server.models.reasoning.chain import Chain
from blockrank_server.models.reasoning.request import Reasoned, ReasoningRequest


@dataclass(slots=True)
class PendingChains:
    """Waits for the scores of a batch. Several batches are written at once, and end in any order.

    Attributes:
        requests: get what was written, once it is.
        rows: the chains of each request.
        written: is done when every chain has its score, or one has failed.
    """

    requests: Sequence[ReasoningRequest]
    rows: Sequence[Sequence[Chain]]
    written: "Future[None]"
    was_split: bool = False
    is_done: bool = False

    def when_done(self, tell: Callable[[], None]) -> None:
        """Have it told, on some thread, when result has nothing to wait for any more."""
        self.written.add_done_callback(lambda _: tell())

    def result(self) -> list[list[float]]:
        """Wait, and return the score of every document, one row a request.

        Raises:
            EngineError: a chain could not be written.
            AbandonedError: all callers have gone.
        """
        self.written.result()
        for request, row in zip(self.requests, self.rows, strict=True):
            request.reasoned[:] = map(Reasoned.of, row)
        return [[each.score for each in row] for row in self.rows]

    def levels(self) -> list[float]:
        """Return 0 for each request: scores belong to no list."""
        return [0.0] * len(self.rows)

    def part_shares(self) -> list[list[float]]:
        """Return nothing for each request: there are no parts."""
        return [[] for _ in self.rows]
