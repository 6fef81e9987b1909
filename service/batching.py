"""Which waiting jobs form the next batch, and when. No thread, no clock, no model."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from blockrank_server.models.request import EncodedRequest

DOCUMENT_EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def document_bucket(num_documents: int) -> str:
    """Name of a shortlist's length: the edge at or above it."""
    return next((str(edge) for edge in DOCUMENT_EDGES if num_documents <= edge), "more")


@dataclass(frozen=True, slots=True)
class Scored:
    """The model's answer to one job.

    Attributes:
        scores: raw scores in input order, one a document, all finite.
        queue_s: from accepted to the start of the forward pass.
        infer_s: the forward pass of the job's batch.
    """

    scores: list[float]
    queue_s: float
    infer_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One accepted request.

    Attributes:
        request: what the model takes.
        accepted_s: on the batcher's clock.
        future: settled exactly once; cancelled by a caller who has gone.
    """

    request: EncodedRequest
    accepted_s: float
    future: Future[Scored] = field(default_factory=Future)


class Pick(NamedTuple):
    """Jobs to run now; or none, and the seconds after which to ask again at the latest."""

    jobs: Sequence[Job]
    wait_s: float = 0.0


class BatchPolicy(Protocol):
    """Chooses batches."""

    def pick(self, waiting: Sequence[Job], now_s: float, *, is_closing: bool) -> Pick:
        """The next batch.

        Args:
            waiting: at least one job, in order of arrival.
            now_s: on the clock of Job.accepted_s.
            is_closing: no more jobs will come, so waiting for mates is pointless.
        """


class ArrivalOrder:
    """First come, first served, up to a token budget.

    Args:
        max_batch_tokens: of one batch; a larger job runs alone.
        max_wait_s: longest wait for mates, from the arrival of the oldest job.
    """

    def __init__(self, *, max_batch_tokens: int, max_wait_s: float) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._max_wait_s = max_wait_s

    def pick(self, waiting: Sequence[Job], now_s: float, *, is_closing: bool) -> Pick:
        """See BatchPolicy.pick."""
        jobs: list[Job] = []
        room = self._max_batch_tokens
        for job in waiting:
            if jobs and job.request.num_tokens > room:
                return Pick(jobs)
            jobs.append(job)
            room -= job.request.num_tokens
        wait_s = waiting[0].accepted_s + self._max_wait_s - now_s
        if room <= 0 or is_closing or wait_s <= 0:
            return Pick(jobs)
        return Pick((), wait_s)
