"""Which waiting jobs form the next batch, and when. No thread, no clock, no model."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from blockrank_server.models.prompt.request import EncodedRequest

DOCUMENT_EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

# A job may run amid others of at least this many times its tokens.
_URGENT_RATIO = 4


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
        deadline_s: on the same clock; after it nobody waits for the answer.
        due_s: jobs run in this order; at or before the deadline.
        future: settled exactly once; cancelled by a caller who has gone.
    """

    request: EncodedRequest
    accepted_s: float
    deadline_s: float
    due_s: float
    future: Future[Scored] = field(default_factory=Future)

    @property
    def num_tokens(self) -> int:
        """Of the request."""
        return self.request.num_tokens

    def give(self, scored: Scored) -> None:
        """Answer, unless it has been."""
        with suppress(InvalidStateError):
            self.future.set_result(scored)

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless it has been answered."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    @property
    def bucket(self) -> str:
        """Of the shortlist's length."""
        return document_bucket(self.request.num_documents)


class Pick(NamedTuple):
    """Jobs to run now; or none, and the seconds after which to ask again at the latest."""

    jobs: Sequence[Job]
    wait_s: float | None = None


class LengthBuckets:
    """Batches of shortlists of similar length, so that a short one never waits for a long mate.

    The job that is due first chooses the bucket; batches do not mix buckets. Due dates are finite
    and grow with a job's length, so short lists overtake long ones and no bucket starves.

    Args:
        max_wait_s: longest wait for mates while the device is busy with another batch.
        patience: a job is due this many times its own duration after it was accepted.
    """

    def __init__(self, *, max_wait_s: float, patience: float = 4.0) -> None:
        self._max_wait_s = max_wait_s
        self._patience = patience

    def due_s(self, accepted_s: float, deadline_s: float, predicted_s: float) -> float:
        """When a job is due.

        Args:
            accepted_s: now.
            deadline_s: of the job.
            predicted_s: duration of its forward pass if it ran alone.
        """
        return min(deadline_s, accepted_s + self._patience * predicted_s)

    def pick(self, waiting: Iterable[Job], now_s: float, *, room: float, is_idle: bool) -> Pick:
        """The next batch.

        Args:
            waiting: at least one job.
            now_s: on the clock of Job.accepted_s.
            room: tokens of a batch; a larger job runs alone.
            is_idle: nothing runs on the device, so that waiting for mates would waste it.
        """
        jobs, is_full = self._fill(sorted(waiting, key=_due), room)
        wait_s = min(job.accepted_s for job in jobs) + self._max_wait_s - now_s
        return Pick(jobs) if is_full or is_idle or wait_s <= 0 else Pick((), wait_s)

    def pick_urgent(
        self, waiting: Iterable[Job], running: Sequence[Job], *, room: float, limit: float
    ) -> Sequence[Job]:
        """Jobs so much shorter than those of a running batch that they should run amid it.

        Args:
            waiting: any number of jobs.
            running: the batch.
            room: tokens of a batch; a larger job runs alone.
            limit: tokens that may run amid this one.
        """
        largest = min(limit, min(job.num_tokens for job in running) / _URGENT_RATIO)
        due_s = min(job.due_s for job in running)
        urgent = [job for job in waiting if job.num_tokens <= largest and job.due_s < due_s]
        return self._fill(sorted(urgent, key=_due), min(room, limit))[0] if urgent else ()

    def _fill(self, by_due: Sequence[Job], room: float) -> tuple[list[Job], bool]:
        """The first job and its mates within the room, and whether there are more of them."""
        bucket = by_due[0].bucket
        jobs: list[Job] = []
        for job in by_due:
            if job.bucket != bucket:
                continue
            if jobs and job.num_tokens > room:
                return jobs, True
            jobs.append(job)
            room -= job.num_tokens
        return jobs, room <= 0


def _due(job: Job) -> float:
    return job.due_s
