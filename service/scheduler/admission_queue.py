"""Keeps the bounded queue, and decides who may join it."""

from collections.abc import Iterator, Sequence

from blockrank_server.models.errors import InputTooLongError
from blockrank_server.service.errors import OverloadedError
from blockrank_server.service.scheduler.computed_tokens import num_computed_tokens
from blockrank_server.service.scheduler.duration_model import DurationModel
from blockrank_server.service.scheduler.job import Job
from blockrank_server.service.scheduler.policy import BatchLimits

# Predictions are held against deadlines with this much to spare: work that ends too late is wasted.
_MARGIN = 1.1


class HopelessError(Exception):
    """A job could not meet its deadline even alone, at the best speed proved so far.

    Attributes:
        num_tokens: those of its request.
        least_s: how long it takes at that speed.
        left_s: the time until its deadline.
    """

    def __init__(self, num_tokens: int, least_s: float, left_s: float) -> None:
        super().__init__(f"{num_tokens} tokens take {least_s} s, {left_s} s are left")
        self.num_tokens, self.least_s, self.left_s = num_tokens, least_s, left_s


class AdmissionQueue:
    """Holds the jobs waiting; one can leave at any place. The batcher's lock guards it.

    Args:
        limits: says how much may wait, and how long a batch may take.
        duration_model: predicts how long jobs take.

    Attributes:
        num_tokens: tokens of the jobs waiting.
    """

    def __init__(self, limits: BatchLimits, duration_model: DurationModel) -> None:
        self._max_requests = limits.max_queue_requests
        self._max_tokens = limits.max_queue_tokens
        self._max_batch_s = limits.max_batch_s
        self._max_wait_share = limits.max_wait_share_of_deadline
        self._duration_model = duration_model
        self._jobs: dict[Job, None] = {}
        self.num_tokens = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        """Give the jobs in order of arrival."""
        return iter(self._jobs)

    def __contains__(self, job: Job) -> bool:
        return job in self._jobs

    def admit(self, job: Job, now_s: float, ahead_s: float | None) -> None:
        """Take a job in.

        Args:
            job: has not been in the queue before.
            now_s: the time, on the clock of Job.deadline_s.
            ahead_s: the time until the batches that run now are done; None if none runs.

        Raises:
            InputTooLongError: the job alone is larger than the whole queue may be.
            HopelessError: it would miss its deadline alone, too, whenever it came.
            OverloadedError: the queue is full; or, at the present speed, the job would wait for too
                long, or it, or another because of it, would miss its deadline. Later, when fewer
                wait, it can be taken in.
        """
        if job.num_tokens > self._max_tokens:
            raise InputTooLongError(
                f"documents and query have {job.num_tokens} tokens, the limit is "
                f"{self._max_tokens}",
                field="documents",
                limit=self._max_tokens,
                value=job.num_tokens,
            )
        self._check_hope(job, job.deadline_s - now_s)
        wait_s = (ahead_s or 0.0) + self._duration_model.predict_s(self.num_tokens)
        is_full = len(self._jobs) >= self._max_requests
        if is_full or self.num_tokens + job.num_tokens > self._max_tokens:
            raise OverloadedError(wait_s)
        # An idle device tries what is possible: a wrong prediction would never be corrected else.
        is_idle = ahead_s is None and not self._jobs
        if not is_idle and self._is_too_late(job, now_s, ahead_s or 0.0):
            raise OverloadedError(wait_s)
        self._jobs[job] = None
        self.num_tokens += job.num_tokens

    def remove(self, job: Job) -> None:
        del self._jobs[job]
        self.num_tokens -= job.num_tokens

    def claim(self, jobs: Sequence[Job]) -> list[Job]:
        """Take jobs out to run them; those whose callers have gone are left out."""
        for job in jobs:
            self.remove(job)
            job.is_claimed = not job.future.cancelled()
        return [job for job in jobs if job.is_claimed]

    def late(self, now_s: float) -> list[Job]:
        """Find the jobs that could not meet their deadline if they started now."""
        predict_s = self._duration_model.predict_marginal_s
        return [j for j in self._jobs if now_s + predict_s(j.num_least_tokens) > j.deadline_s]

    def _check_hope(self, job: Job, left_s: float) -> None:
        # With no time left it is late already, which says nothing about the next try.
        if not 0 < left_s < self._duration_model.predict_least_s(job.num_tokens):
            return
        least_s = self._duration_model.predict_least_s(num_computed_tokens([job.request]))
        if left_s < least_s:
            raise HopelessError(job.num_tokens, least_s, left_s)

    def _is_too_late(self, new: Job, now_s: float, ahead_s: float) -> bool:
        """Say whether the job waits too long, or it, or one behind it then, ends too late."""
        added_s = _MARGIN * self._duration_model.predict_s(new.num_tokens)
        # A job has to wait for the end of its mates too.
        before_s = now_s + ahead_s + (self._max_batch_s if self._jobs else 0.0)
        behind: list[Job] = []
        for job in sorted(self._jobs, key=lambda job: job.due_s):
            if job.due_s <= new.due_s:
                before_s += _MARGIN * self._predicted_s(job)
            else:
                behind.append(job)
        if before_s + added_s > new.deadline_s:
            return True
        # A queue as long as the deadline allows is as good as none: it only makes everybody wait.
        if before_s - now_s > self._max_wait_share * (new.deadline_s - now_s):
            return True
        for job in behind:
            before_s += _MARGIN * self._predicted_s(job)
            if before_s <= job.deadline_s < before_s + added_s:
                return True
        return False

    def _predicted_s(self, job: Job) -> float:
        # It shares a batch with others.
        return self._duration_model.predict_marginal_s(job.num_tokens)
