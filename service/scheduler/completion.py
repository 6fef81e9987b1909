"""Waits for the scores of launched batches and answers their jobs, on a thread of its own."""

import math
import threading
from collections.abc import Callable, Sequence
from itertools import chain
from queue import SimpleQueue
from typing import Protocol

import structlog

from blockrank_server.models.errors import (
    AbandonedError,
    DeviceLostError,
    DeviceMemoryError,
    EngineUnavailableError,
)
from blockrank_server.service.errors import DeadlineError, InferenceError, ServiceError
from blockrank_server.service.scheduler.computed_tokens import num_computed_tokens
from blockrank_server.service.scheduler.duration_model import DurationModel
from blockrank_server.service.scheduler.engine_faults import unavailable
from blockrank_server.service.scheduler.job import Drop, Job, Scored
from blockrank_server.service.scheduler.running_batch import BatchReport, RunningBatch

# (batch, parts of it to be run again)
OnEnd = Callable[[RunningBatch, Sequence[Sequence[Job]]], None]


class Observer(Protocol):
    """Is told what happens, on the batcher's threads and on those of callers."""

    def completed(self, report: BatchReport) -> None:
        """A batch gave its scores."""

    def failed(self) -> None:
        """A batch raised; its jobs are tried in halves."""

    def aborted(self, busy_s: float) -> None:
        """A batch was ended after so long, because nobody waited for it."""

    def dropped(self, reason: Drop) -> None:
        """An accepted job will not be run, or not to its end."""


class Completer:
    """Answers jobs in the order in which their batches were put.

    Batches are either all put, or all completed on the thread that launches them.

    Args:
        duration_model: learns how fast batches are.
        clock: seconds; that of the jobs' deadlines.
        on_end: called when a batch is over, done or failed.
        on_death: called when an exception has ended the thread.

    Attributes:
        death: that exception.
    """

    def __init__(
        self,
        observer: Observer,
        duration_model: DurationModel,
        clock: Callable[[], float],
        on_end: OnEnd,
        on_death: Callable[[], None],
    ) -> None:
        self._observer, self._duration_model, self._clock = observer, duration_model, clock
        self._on_end, self._on_death = on_end, on_death
        self.death: BaseException | None = None
        self._launched: SimpleQueue[RunningBatch | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="complete", daemon=True)
        self._done_s = -math.inf  # when the scores of the batch before were there
        self._log = structlog.get_logger(__name__)

    def start(self) -> None:
        self._thread.start()

    def put(self, batch: RunningBatch) -> None:
        """Have a launched batch completed on the thread, behind those put before it."""
        self._launched.put(batch)

    def stop(self) -> None:
        """End the thread when what was put before is complete."""
        self._launched.put(None)

    def complete(self, batch: RunningBatch) -> None:
        """Wait for the scores of a batch and answer its jobs."""
        try:
            rows = batch.rows()
        except DeviceLostError:
            raise
        except AbandonedError:
            self.abort(batch)
            return
        except Exception as error:
            self.retry(batch, error)
            return
        done_s = self._clock()
        report = batch.report(done_s, self._done_s)
        self._done_s = done_s
        self._record(batch, report.infer_s)
        # Not infer_s, which is too short where the end of the batch before was seen late.
        num_computed = num_computed_tokens(job.request for job in batch.jobs)
        self._duration_model.prove(num_computed, done_s - batch.started_s)
        self._observer.completed(report)
        infer_s = done_s - batch.started_s if batch.is_one_of_many else report.infer_s
        for job, (row, level, shares) in zip(batch.jobs, rows, strict=True):
            sizes = len(row), len(shares)
            expected = job.request.num_documents, job.request.num_part_shares
            if sizes == expected and all(map(math.isfinite, chain(row, (level,), shares))):
                queue_s = batch.started_s - job.accepted_s
                job.complete(Scored(row, queue_s, infer_s, level, shares))
            else:
                self._log.error("not one finite score a document", num_scores=len(row))
                job.fail(_inference_error())
        self._on_end(batch, ())

    def retry(self, batch: RunningBatch, error: Exception) -> None:
        """Have the halves of a batch that failed tried, so that only the job at fault fails."""
        jobs = batch.jobs
        self._log.error("a batch failed", num_requests=len(jobs), exc_info=error)
        self._observer.failed()
        if len(jobs) == 1:
            jobs[0].fail(_failure(error))
            self._on_end(batch, ())
            return
        half = len(jobs) // 2
        self._on_end(batch, (jobs[:half], jobs[half:]))

    def abort(self, batch: RunningBatch) -> None:
        """Drop the jobs of a batch that was ended before it had scores.

        How long it ran says nothing about how long it would have taken, unless that is longer than
        predicted: on a device that has become too slow for every deadline, no other pass would
        teach it, and each would be tried anew.
        """
        now_s = self._clock()
        ran_s = max(0.0, now_s - batch.started_s - batch.preempted_s)
        self._observer.aborted(ran_s)
        if ran_s > self._duration_model.predict_s(batch.num_tokens):
            self._record(batch, ran_s)
        for job in batch.jobs:
            job.fail(DeadlineError("The deadline has passed"))  # unless its caller has gone
            self._observer.dropped(job.why_abandoned(now_s))
        self._on_end(batch, ())

    def _record(self, batch: RunningBatch, seconds: float) -> None:
        # Batches since a job was accepted may have computed what it had not known then.
        self._duration_model.record(
            batch.num_computed_tokens, seconds, num_known=batch.num_known_tokens
        )

    def _run(self) -> None:
        try:
            while (batch := self._launched.get()) is not None:
                self.complete(batch)
        except BaseException as error:
            self.death = error
            self._on_death()


def _failure(error: Exception) -> ServiceError:
    if isinstance(error, EngineUnavailableError):
        return unavailable(error)
    return _inference_error(error)


def _inference_error(error: BaseException | None = None) -> InferenceError:
    is_memory = isinstance(error, DeviceMemoryError)  # fit for the caller: it holds no text
    failure = InferenceError(str(error) if is_memory else "Inference failed")
    failure.__cause__ = error
    return failure
