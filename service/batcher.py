"""A bounded queue in front of the one thread that owns the model.

Every accepted job gets exactly one result or one error: also if its batch fails, if the thread
dies and at shutdown.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from blockrank_server.models.errors import DeviceMemoryError, InputTooLongError
from blockrank_server.models.request import EncodedRequest
from blockrank_server.service.batching import BatchPolicy, Job, Scored
from blockrank_server.service.errors import (
    DrainingError,
    InferenceError,
    ModelUnavailableError,
    OverloadedError,
    ServiceError,
)

Score = Callable[[Sequence[EncodedRequest]], list[list[float]]]

# Weight of the newest batch in the running mean of seconds per token.
_NEWEST = 0.2
_DEAD = "The model's thread has died"


class BatchReport(NamedTuple):
    """One forward pass that gave scores.

    Attributes:
        num_requests: in the batch.
        num_tokens: in the batch.
        infer_s: its duration.
    """

    num_requests: int
    num_tokens: int
    infer_s: float


class Batcher:
    """Queue, batches and their errors; the model is a function handed to run.

    Args:
        policy: which jobs form a batch.
        max_queue_requests: jobs waiting; one more is refused.
        max_queue_tokens: tokens of the jobs waiting.
        observe: called after every forward pass, on the model's thread.
        clock: seconds; for tests.
    """

    def __init__(
        self,
        policy: BatchPolicy,
        *,
        max_queue_requests: int,
        max_queue_tokens: int,
        observe: Callable[[BatchReport], None] = lambda report: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._max_requests, self._max_tokens = max_queue_requests, max_queue_tokens
        self._observe, self._clock = observe, clock
        self._changed = threading.Condition()
        self._waiting: dict[Job, None] = {}  # a queue from which a job can leave at any place
        self._running: Sequence[Job] = ()
        self._waiting_tokens = 0
        self._seconds_per_token = 0.0
        self._is_closing = self._is_dead = False
        self._ended = threading.Event()
        self._log = structlog.get_logger()

    @property
    def num_requests(self) -> int:
        """Jobs waiting."""
        return len(self._waiting)

    @property
    def num_tokens(self) -> int:
        """Tokens of the jobs waiting."""
        return self._waiting_tokens

    @property
    def is_dead(self) -> bool:
        """Whether run has ended by an exception: nothing will be answered any more."""
        return self._is_dead

    @property
    def predicted_wait_s(self) -> float:
        """Seconds until the jobs waiting now are done, at the speed of late."""
        return self._waiting_tokens * self._seconds_per_token

    def submit(self, request: EncodedRequest) -> Job:
        """Accept a request. Cancel the job's future to take it back.

        Raises:
            OverloadedError: the queue is full.
            InputTooLongError: an empty queue could not take the request either.
            DrainingError, ModelUnavailableError: after close, after the death of the thread.
        """
        job = Job(request, self._clock())
        with self._changed:
            if refusal := self._refusal(request.num_tokens):
                raise refusal
            self._waiting[job] = None
            self._waiting_tokens += request.num_tokens
            self._changed.notify()
        job.future.add_done_callback(lambda _: self._leave(job))
        return job

    def run(self, score: Score) -> None:
        """Answer jobs until closed and empty. Call it once, on the thread that owns the model.

        Args:
            score: one forward pass over many requests.
        """
        try:
            while jobs := self._next_batch():
                self._running = jobs
                self._run_batch(jobs, score)
        except BaseException:
            self._is_dead = True
            self._log.critical("the model's thread died", exc_info=True)
            raise
        finally:
            self._abandon(ModelUnavailableError(_DEAD))
            for job in self._running:
                if not job.future.done():
                    job.future.set_exception(ModelUnavailableError(_DEAD))
            self._ended.set()

    def close(self, timeout_s: float) -> bool:
        """Refuse new jobs, answer those accepted, wait for run to end.

        Returns:
            Whether run has ended; if not in time, the jobs still waiting have got an error.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        is_ended = self._ended.wait(timeout_s)
        self._abandon(DrainingError())
        return is_ended

    def _refusal(self, num_tokens: int) -> Exception | None:
        if self._is_dead:
            return ModelUnavailableError(_DEAD)
        if self._is_closing:
            return DrainingError()
        if num_tokens > self._max_tokens:
            return InputTooLongError(
                f"documents and query have {num_tokens} tokens, the limit is {self._max_tokens}",
                field="documents",
                limit=self._max_tokens,
                value=num_tokens,
            )
        is_full = len(self._waiting) >= self._max_requests
        if is_full or self._waiting_tokens + num_tokens > self._max_tokens:
            return OverloadedError(self.predicted_wait_s)
        return None

    def _leave(self, job: Job) -> None:
        with self._changed:
            if job in self._waiting:
                self._take(job)

    def _take(self, job: Job) -> None:
        """Off the queue; the lock is held."""
        del self._waiting[job]
        self._waiting_tokens -= job.request.num_tokens

    def _next_batch(self) -> list[Job]:
        """The next batch, none of its callers gone; empty when closed and done."""
        with self._changed:
            while self._waiting or not self._is_closing:
                if not self._waiting:
                    self._changed.wait()
                    continue
                picked, wait_s = self._policy.pick(
                    tuple(self._waiting), self._clock(), is_closing=self._is_closing
                )
                for job in picked:
                    self._take(job)
                if jobs := [job for job in picked if job.future.set_running_or_notify_cancel()]:
                    return jobs
                if not picked:
                    self._changed.wait(wait_s)
            return []

    def _run_batch(self, jobs: Sequence[Job], score: Score) -> None:
        started_s = self._clock()
        try:
            rows = score([job.request for job in jobs])
            if len(rows) != len(jobs):
                raise RuntimeError(f"{len(jobs)} requests gave {len(rows)} rows of scores")
        except Exception as error:
            self._log.exception("a batch failed", num_requests=len(jobs))
            failure = _failed(error)
        else:
            self._settle(jobs, rows, started_s)
            return
        if len(jobs) == 1:
            jobs[0].future.set_exception(failure)
            return
        for job in jobs:  # alone, so that the mates of the job at fault get their scores
            self._run_batch([job], score)

    def _settle(self, jobs: Sequence[Job], rows: Sequence[list[float]], started_s: float) -> None:
        infer_s = self._clock() - started_s
        for job, row in zip(jobs, rows, strict=True):
            if len(row) == job.request.num_documents and all(map(math.isfinite, row)):
                job.future.set_result(Scored(row, started_s - job.accepted_s, infer_s))
            else:
                self._log.error("not one finite score a document", num_scores=len(row))
                job.future.set_exception(_failed())
        self._record(BatchReport(len(jobs), sum(j.request.num_tokens for j in jobs), infer_s))

    def _record(self, report: BatchReport) -> None:
        latest = report.infer_s / max(1, report.num_tokens)
        before = self._seconds_per_token or latest
        self._seconds_per_token = (1 - _NEWEST) * before + _NEWEST * latest
        self._observe(report)

    def _abandon(self, error: ServiceError) -> None:
        """Give an error to the jobs waiting, which nobody will run."""
        with self._changed:
            jobs = [job for job in self._waiting if job.future.set_running_or_notify_cancel()]
            self._waiting.clear()
            self._waiting_tokens = 0
        for job in jobs:
            job.future.set_exception(error)


def _failed(error: BaseException | None = None) -> InferenceError:
    is_memory = isinstance(error, DeviceMemoryError)  # fit for the caller: it holds no text
    failure = InferenceError(str(error) if is_memory else "Inference failed")
    failure.__cause__ = error
    return failure
