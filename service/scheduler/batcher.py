"""Puts a bounded queue in front of the one thread that owns the model. The states of a job:

    submit --> waiting --> running --> done: gets its scores
      |         |   |       |  |  ^
      |         |   |       |  v  | each half of the jobs, as a batch
      |         |   |       | failed --> it was a batch of one: InferenceError
      |         |   |       +--> aborted: nobody waits for a job of its batch any more
      |         |   +--> cancelled: its caller has gone, and it leaves the queue
      |         +--> dropped: it would end after its deadline, DeadlineError
      +--> refused: OverloadedError, HopelessError, InputTooLongError, DrainingError

Every accepted job gets exactly one result or one error: also when a thread dies
(ModelUnavailableError) and at shutdown (DrainingError). Its caller may cancel it at any time.

There are two threads: run, on the model's, forms batches and launches them; the completer's waits
for their scores and answers, so that on CUDA the next batch is packed and launched while one runs.
On the CPU there is nothing to wait for, and run answers too. Where a server of completions writes
chains, many batches run at once, and each is completed when it is done.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import structlog

from blockrank_server.models.errors import AbandonedError, DeviceLostError
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.remote.pending_chains import PendingChains
from blockrank_server.service.errors import (
    DeadlineError,
    DrainingError,
    ModelUnavailableError,
    ServiceError,
)
from blockrank_server.service.scheduler.admission_queue import AdmissionQueue
from blockrank_server.service.scheduler.capacity import Capacity, DeviceCapacity
from blockrank_server.service.scheduler.completion import Completer, Observer
from blockrank_server.service.scheduler.duration_model import DurationModel
from blockrank_server.service.scheduler.job import Drop, Job, Scored
from blockrank_server.service.scheduler.policy import BatchingPolicy, BatchLimits, Pick
from blockrank_server.service.scheduler.preemption import Preemption
from blockrank_server.service.scheduler.running_batch import RunningBatch, RunningBatches, Start

_DEAD = "The model's thread has died"


class Batcher:
    """Keeps the queue, the batches and their errors; the model is a function handed to run.

    Args:
        duration_model: learns how long batches take.
        clock: seconds; that of the jobs' deadlines.
    """

    def __init__(
        self,
        policy: BatchingPolicy,
        observer: Observer,
        duration_model: DurationModel,
        limits: BatchLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy, self._observer = policy, observer
        self._duration_model, self._clock = duration_model, clock
        self._changed = threading.Condition()
        self._queue = AdmissionQueue(limits, duration_model)
        self._capacity: Capacity = DeviceCapacity(limits, duration_model)
        self._running = RunningBatches(duration_model, clock)
        self._preemption = Preemption(
            self._queue, self._running, limits, duration_model, self._changed, clock
        )
        self._is_closing = self._is_dead = False
        self._ended = threading.Event()
        self._completer = Completer(observer, duration_model, clock, self._end, self._wake)
        self._log = structlog.get_logger(__name__)

    @property
    def num_requests(self) -> int:
        return len(self._queue)

    @property
    def num_tokens(self) -> int:
        return self._queue.num_tokens

    @property
    def is_dead(self) -> bool:
        """Say whether run has ended by an exception: nothing will be answered any more."""
        return self._is_dead

    @property
    def predicted_wait_s(self) -> float:
        """Return the seconds until the jobs accepted by now are done, at the present speed."""
        with self._changed:
            waiting_s = self._duration_model.predict_s(self._queue.num_tokens)
            return (self._running.remaining_s() or 0.0) + waiting_s

    def submit(
        self,
        request: EncodedRequest,
        deadline_s: float = math.inf,
        future: Future[Scored] | None = None,
    ) -> Job:
        """Accept a request. Cancel the job's future to take it back.

        Args:
            deadline_s: after this moment of the batcher's clock nobody waits for the answer.
            future: becomes the job's; by default it gets one of its own.

        Raises:
            OverloadedError: the queue is full, or the deadline would be missed now.
            HopelessError: the deadline would be missed on an idle device, too.
            InputTooLongError: an empty queue could not take the request either.
            DrainingError, ModelUnavailableError: after close, after the death of a thread.
        """
        now_s = self._clock()
        model = self._duration_model
        num_tokens = model.cost_tokens(request.num_computed_tokens, request.num_known_tokens)
        due_s = self._policy.due_s(now_s, deadline_s, model.predict_s(num_tokens))
        job = Job(request, num_tokens, now_s, deadline_s, due_s, future or Future())
        with self._changed:
            if self._is_dead:
                raise ModelUnavailableError(_DEAD)
            if self._is_closing:
                raise DrainingError()
            is_next = self._capacity.starts_at_once() or self._preemption.can_preempt(job)
            self._queue.admit(job, now_s, 0.0 if is_next else self._running.remaining_s())
            self._changed.notify_all()
        job.future.add_done_callback(lambda _: self._leave(job))
        return job

    def run(self, start: Start, capacity: Capacity | None = None) -> None:
        """Answer jobs until closed and empty. Call it once, on the thread that owns the model."""
        self._capacity = capacity or self._capacity
        self._completer.start()
        try:
            while jobs := self._next_batch():
                self._launch(start, RunningBatch(jobs, self._clock()))
        except BaseException:
            self._is_dead = True
            self._log.critical("the model's thread died", exc_info=True)
            raise
        finally:
            self._completer.stop()
            self._abandon(ModelUnavailableError(_DEAD), also_running=True)
            self._ended.set()

    def close(self, timeout_s: float) -> bool:
        """Refuse new jobs, answer those accepted, wait for run to end.

        Returns:
            Whether run has ended; if not in time, the jobs still waiting have got an error.
        """
        self._is_closing = True
        self._wake()
        is_ended = self._ended.wait(timeout_s)
        self._abandon(DrainingError())
        return is_ended

    def _leave(self, job: Job) -> None:
        """Take out a job, answered or not, if its future is done because its caller has gone."""
        if not job.future.cancelled():
            return
        with self._changed:
            if job.is_claimed:
                return  # seen between the steps of its batch
            if job in self._queue:
                self._queue.remove(job)
                self._changed.notify_all()
        self._observer.dropped(job.why_abandoned(self._clock()))

    def _next_batch(self) -> Sequence[Job]:
        """Wait for the next batch, none of its callers gone; empty when closed and done."""
        with self._changed:
            while True:
                if self._completer.death is not None:
                    raise RuntimeError("the completer's thread died") from self._completer.death
                if jobs := self._running.next_retry():
                    return jobs
                wait_s = self._capacity.again_s if self._queue else None
                if self._queue and self._capacity.has_place(len(self._running)):
                    self._drop_late()
                    jobs, wait_s = self._pick()
                    if jobs:
                        return jobs
                    if not self._queue:
                        continue
                elif self._is_closing and not self._queue and not self._running:
                    return ()
                self._changed.wait(wait_s)

    def _pick(self) -> Pick:
        """Ask the policy until a job is found whose caller waits; the lock is held."""
        while self._queue:
            room, is_idle = self._capacity.room(), not self._running
            pick = self._policy.pick(self._queue, self._clock(), room=room, is_idle=is_idle)
            if not pick.jobs:
                return pick
            if jobs := self._queue.claim(pick.jobs):
                return Pick(jobs)
        return Pick(())

    def _drop_late(self) -> None:
        """Refuse what would end too late; the lock is held."""
        if not self._running and len(self._queue) == 1:
            return  # an idle device tries it: only batches correct the prediction
        for job in self._queue.claim(self._queue.late(self._clock())):
            job.fail(DeadlineError("The deadline cannot be met"))
            self._observer.dropped(Drop.DEADLINE)

    def _launch(self, start: Start, batch: RunningBatch) -> None:
        with self._changed:
            self._running.add(batch)
        between_steps = partial(self._preemption.between_steps, batch, partial(self._launch, start))
        try:
            batch.scores = start([job.request for job in batch.jobs], between_steps)
        except DeviceLostError:
            raise
        except AbandonedError:
            self._completer.abort(batch)
            return
        except Exception as error:
            self._completer.retry(batch, error)
            return
        if isinstance(batch.scores, PendingChains):  # they end in any order
            batch.scores.when_done(partial(self._completer.put, batch))
        else:  # where nothing is left to wait for, no other thread is needed
            (self._completer.complete if batch.scores.is_done else self._completer.put)(batch)

    def _end(self, batch: RunningBatch, retries: Sequence[Sequence[Job]]) -> None:
        with self._changed:
            self._running.remove(batch, retries)
            if retries or self._queue or self._is_closing:  # else nothing is left to do
                self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _abandon(self, error: ServiceError, *, also_running: bool = False) -> None:
        """Give an error to the jobs that nobody will run."""
        with self._changed:
            jobs = self._queue.claim(list(self._queue))
            if also_running:
                jobs += self._running.jobs()
        for job in jobs:
            job.fail(error)
