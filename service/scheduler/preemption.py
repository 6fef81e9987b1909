"""Acts between the steps of a batch: a short one preempts it, or it is given up.

    long batch    |step|step|                   |step|step| ... done
    short batch             |step|step| ... done

A batch's forward pass calls between_steps after each of its steps, on the model's thread; what
preempts it runs inside that call, and is itself never preempted. A batch whose callers have all
gone ends there.
"""

import threading
from collections.abc import Callable, Iterable, Sequence

from blockrank_server.models.errors import AbandonedError
from blockrank_server.service.scheduler.admission_queue import AdmissionQueue
from blockrank_server.service.scheduler.duration_model import DurationModel
from blockrank_server.service.scheduler.job import Job
from blockrank_server.service.scheduler.policy import BatchLimits, take_batch
from blockrank_server.service.scheduler.running_batch import RunningBatch, RunningBatches

# A job may preempt others of at least this many times its tokens.
_MIN_RATIO = 4


def pick_preempting(
    waiting: Iterable[Job], running: Sequence[Job], *, room: float, limit: float
) -> Sequence[Job]:
    """Choose jobs due before those of a running batch and so much shorter that they preempt it.

    Args:
        running: those of the running batch.
        room: tokens of a batch; a larger job runs alone.
        limit: tokens that may preempt this batch.
    """
    largest = min(limit, min(job.num_tokens for job in running) / _MIN_RATIO)
    due_s = min(job.due_s for job in running)
    short = [job for job in waiting if job.num_tokens <= largest and job.due_s < due_s]
    return take_batch(short, min(room, limit))[0] if short else ()


class Preemption:
    """Decides between the steps of a batch whether it goes on, and what preempts it.

    Args:
        lock: the batcher's, which guards queue and running.
        clock: seconds; that of the jobs' deadlines.
    """

    def __init__(
        self,
        queue: AdmissionQueue,
        running: RunningBatches,
        limits: BatchLimits,
        duration_model: DurationModel,
        lock: threading.Condition,
        clock: Callable[[], float],
    ) -> None:
        self._queue, self._running, self._lock = queue, running, lock
        self._limits, self._duration_model, self._clock = limits, duration_model, clock

    def between_steps(self, batch: RunningBatch, launch: Callable[[RunningBatch], None]) -> None:
        """Run what preempts a batch; called between the steps of its forward pass.

        Args:
            batch: has its scores still to come.
            launch: runs a batch on this thread.

        Raises:
            AbandonedError: nobody waits for the batch any more.
        """
        if batch.is_abandoned(self._clock()):
            raise AbandonedError("nobody waits for the scores any more")
        if batch.is_preempting or not self._queue:
            return
        with self._lock:
            jobs = self._queue.claim(self._pick(self._queue, batch))
        if jobs:
            started_s = self._clock()
            batch.num_preempting_tokens += sum(job.num_tokens for job in jobs)
            launch(RunningBatch(jobs, started_s, is_preempting=True))
            batch.preempted_s += self._clock() - started_s

    def can_preempt(self, job: Job) -> bool:
        """Say whether a job need not wait for the end of what runs; the lock is held."""
        last = self._running.last
        return last is not None and bool(self._pick([job], last))

    def _pick(self, waiting: Iterable[Job], batch: RunningBatch) -> Sequence[Job]:
        """Choose jobs of no more tokens than the batch's own, and none that make it late."""
        num_tokens = batch.num_tokens + batch.num_preempting_tokens
        end_s = batch.started_s + self._duration_model.predict_s(num_tokens)
        slack_s = max(0.0, min(job.deadline_s for job in batch.jobs) - end_s)
        own = batch.num_tokens - batch.num_preempting_tokens
        limit = min(own, self._duration_model.max_tokens_within(slack_s))
        room = self._limits.room(self._duration_model)
        return pick_preempting(waiting, batch.jobs, room=room, limit=limit)
