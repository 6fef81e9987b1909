"""A batch on its way through the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.scheduler.policy import Job


class Drop(StrEnum):
    """Why an accepted request was never run, as label `reason` of rerank_dropped_total."""

    CLIENT_GONE = "client_gone"
    DEADLINE = "deadline"


class Landing(Protocol):
    """Scores to come, as Ranker.start gives them.

    Attributes:
        was_split: whether the batch was too large for the device's memory.
        is_landed: whether the scores were there when start returned: always so on a CPU, never on
            another device.
    """

    was_split: bool
    is_landed: bool

    def result(self) -> list[list[float]]:
        """Raw scores, one row a request. Waits for the device."""


# (batch, called between layers) -> scores to come
Start = Callable[[Sequence[EncodedRequest], Callable[[], None] | None], Landing]


class BatchReport(NamedTuple):
    """One forward pass that gave scores.

    Attributes:
        num_requests: in the batch.
        num_tokens: in the batch.
        infer_s: its duration, without that of others between its layers.
        was_split: it took two passes, for want of memory.
        is_interleaved: it ran between the layers of another.
    """

    num_requests: int
    num_tokens: int
    infer_s: float
    was_split: bool = False
    is_interleaved: bool = False


@dataclass(slots=True, eq=False)
class Flight:
    """A batch on its way through the model.

    Attributes:
        jobs: of the batch.
        started_s: on the batcher's clock.
        is_interleaved: whether it runs between the layers of another.
        landing: its scores; None until it is launched.
        lent_s: time that others took between its layers.
        num_tokens_lent: of those others.
    """

    jobs: Sequence[Job]
    started_s: float
    is_interleaved: bool = False
    landing: Landing | None = None
    lent_s: float = 0.0
    num_tokens_lent: int = 0

    @property
    def num_tokens(self) -> int:
        """Of the batch."""
        return sum(job.num_tokens for job in self.jobs)

    def rows(self) -> list[list[float]]:
        """Raw scores, one row a job. Waits for the device."""
        assert self.landing is not None
        rows = self.landing.result()
        if len(rows) != len(self.jobs):
            raise RuntimeError(f"{len(self.jobs)} requests gave {len(rows)} rows of scores")
        return rows

    def report(self, landed_s: float, before_s: float) -> BatchReport:
        """What the metrics need.

        Args:
            landed_s: when the scores were there.
            before_s: when those of the flight before were: a device runs one batch at a time.
        """
        # Flights between its layers landed after it had started.
        begun_s = self.started_s if self.num_tokens_lent else max(self.started_s, before_s)
        assert self.landing is not None
        return BatchReport(
            num_requests=len(self.jobs),
            num_tokens=self.num_tokens,
            infer_s=max(0.0, landed_s - begun_s - self.lent_s),
            was_split=self.landing.was_split,
            is_interleaved=self.is_interleaved,
        )
