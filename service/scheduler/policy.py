"""Decides which waiting jobs form the next batch, and when. Has no thread, no clock, no model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from blockrank_server.service.scheduler.duration_model import DurationModel
from blockrank_server.service.scheduler.job import Job
from blockrank_server.service.settings import Settings


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Says what the batcher may run and hold at once.

    Attributes:
        max_batch_tokens: tokens of one batch; a larger job runs alone.
        max_batch_s: predicted duration of one batch; a longer job runs alone.
        max_queue_requests: jobs waiting; one more is refused.
        max_queue_tokens: tokens of the jobs waiting.
        max_wait_share_of_deadline: share of the time until its deadline that a job may be
            predicted to wait.
    """

    max_batch_tokens: int
    max_batch_s: float
    max_queue_requests: int
    max_queue_tokens: int
    max_wait_share_of_deadline: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take the limits that an operator has set."""
        return cls(
            max_batch_tokens=settings.max_batch_tokens,
            max_batch_s=settings.max_batch_ms / 1000,
            max_queue_requests=settings.max_queue_requests,
            max_queue_tokens=settings.max_queue_tokens,
            max_wait_share_of_deadline=settings.max_wait_share_of_deadline,
        )

    def room(self, duration_model: DurationModel) -> float:
        """Return the tokens that fit one batch at the present speed."""
        return min(self.max_batch_tokens, duration_model.max_tokens_within(self.max_batch_s))


class Pick(NamedTuple):
    """Holds the jobs to run now; or none, and the seconds after which to ask again."""

    jobs: Sequence[Job]
    wait_s: float | None = None


class BatchingPolicy:
    """Makes batches of shortlists of similar length, so that no short one waits for a long mate.

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
        """Tell when a job is due, at its deadline or before.

        Args:
            accepted_s: now.
            deadline_s: after it nobody waits for the answer.
            predicted_s: duration of the forward pass if the job ran alone.
        """
        return min(deadline_s, accepted_s + self._patience * predicted_s)

    def pick(self, waiting: Iterable[Job], now_s: float, *, room: float, is_idle: bool) -> Pick:
        """Choose the next batch.

        Args:
            waiting: holds at least one job.
            now_s: the time, on the clock of Job.accepted_s.
            room: tokens of a batch; a larger job runs alone.
            is_idle: nothing runs on the device, so that waiting for mates would waste it.
        """
        jobs, is_full = take_batch(waiting, room)
        wait_s = min(job.accepted_s for job in jobs) + self._max_wait_s - now_s
        return Pick(jobs) if is_full or is_idle or wait_s <= 0 else Pick((), wait_s)


def take_batch(waiting: Iterable[Job], room: float) -> tuple[list[Job], bool]:
    """Take the job due first and its mates of one bucket, within the room; tell if that is used up.

    Args:
        waiting: holds at least one job.
        room: counts the tokens of a batch; a larger job runs alone.
    """
    by_due = sorted(waiting, key=lambda job: job.due_s)
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
