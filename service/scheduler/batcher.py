"""A bounded queue in front of the one thread that owns the model.

Two threads: run, on the model's, forms batches and launches them; settle waits for their scores and
answers, so that on CUDA the next batch is packed and launched while one runs. On the CPU there is
nothing to wait for, and run answers too. Every accepted job gets exactly one result or one error:
also if its batch fails, if a thread dies and at shutdown.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from blockrank_server.models.errors import DeviceLostError
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.errors import (
    DeadlineError,
    DrainingError,
    ModelUnavailableError,
    ServiceError,
)
from blockrank_server.service.scheduler.admission_queue import WaitingLine
from blockrank_server.service.scheduler.completion import Observer, Settler
from blockrank_server.service.scheduler.duration_model import Throughput
from blockrank_server.service.scheduler.in_flight import InFlight
from blockrank_server.service.scheduler.limits import Limits
from blockrank_server.service.scheduler.policy import Job, LengthBuckets, Pick
from blockrank_server.service.scheduler.running_batch import Drop, Flight, Start

# One runs on the device and one waits behind it; more would only be committed too early.
_MAX_IN_FLIGHT = 2
_DEAD = "The model's thread has died"


class Batcher:
    """Queue, batches and their errors; the model is a function handed to run.

    Args:
        policy: which jobs form a batch.
        observer: is told what happens.
        throughput: learns how fast batches are.
        limits: of batches and of the queue.
        clock: seconds; that of the jobs' deadlines.
    """

    def __init__(
        self,
        policy: LengthBuckets,
        observer: Observer,
        throughput: Throughput,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy, self._observer, self._clock = policy, observer, clock
        self._throughput = throughput
        self._line = WaitingLine(limits, throughput)
        self._changed = threading.Condition()
        self._flying = InFlight(policy, limits, throughput, clock)
        self._retries: deque[Sequence[Job]] = deque()  # parts of batches that failed
        self._is_closing = self._is_dead = False
        self._settler_death: BaseException | None = None
        self._ended = threading.Event()
        self._settler = Settler(observer, self._throughput, clock, self._end, self._settler_died)
        self._log = structlog.get_logger(__name__)

    @property
    def num_requests(self) -> int:
        """Jobs waiting."""
        return len(self._line)

    @property
    def num_tokens(self) -> int:
        """Tokens of the jobs waiting."""
        return self._line.num_tokens

    @property
    def is_dead(self) -> bool:
        """Whether run has ended by an exception: nothing will be answered any more."""
        return self._is_dead

    @property
    def predicted_wait_s(self) -> float:
        """Seconds until the jobs accepted by now are done, at the speed of late."""
        with self._changed:
            return (self._flying.ahead_s() or 0.0) + self._throughput.seconds(self._line.num_tokens)

    def submit(self, request: EncodedRequest, deadline_s: float = math.inf) -> Job:
        """Accept a request. Cancel the job's future to take it back.

        Args:
            request: what the model takes.
            deadline_s: on the batcher's clock; after it nobody waits for the answer.

        Raises:
            OverloadedError: the queue is full, or the deadline would be missed.
            InputTooLongError: an empty queue could not take the request either.
            DrainingError, ModelUnavailableError: after close, after the death of a thread.
        """
        now_s = self._clock()
        predicted_s = self._throughput.seconds(request.num_tokens)
        job = Job(request, now_s, deadline_s, self._policy.due_s(now_s, deadline_s, predicted_s))
        with self._changed:
            if self._is_dead:
                raise ModelUnavailableError(_DEAD)
            if self._is_closing:
                raise DrainingError()
            self._line.admit(job, now_s, self._flying.ahead_s(job))
            self._changed.notify_all()
        job.future.add_done_callback(lambda _: self._leave(job))
        return job

    def run(self, start: Start) -> None:
        """Answer jobs until closed and empty. Call it once, on the thread that owns the model.

        Args:
            start: launches one forward pass over many requests.
        """
        self._settler.start()
        try:
            while jobs := self._next_batch():
                self._launch(Flight(jobs, self._clock()), start)
        except BaseException:
            self._is_dead = True
            self._log.critical("the model's thread died", exc_info=True)
            raise
        finally:
            self._settler.stop()
            self._abandon(ModelUnavailableError(_DEAD), also_running=True)
            self._ended.set()

    def close(self, timeout_s: float) -> bool:
        """Refuse new jobs, answer those accepted, wait for run to end.

        Returns:
            Whether run has ended; if not in time, the jobs still waiting have got an error.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        is_ended = self._ended.wait(timeout_s)
        self._abandon(DrainingError())
        return is_ended

    def _leave(self, job: Job) -> None:
        """A job is answered; or its caller has gone, and it may still wait."""
        if not job.future.cancelled():
            return
        with self._changed:
            if job in self._line:
                self._line.remove(job)
                self._changed.notify_all()
        is_late = self._clock() >= job.deadline_s
        self._observer.dropped(Drop.DEADLINE if is_late else Drop.CLIENT_GONE)

    def _next_batch(self) -> Sequence[Job]:
        """The next batch, none of its callers gone; empty when closed and done."""
        with self._changed:
            while True:
                if self._settler_death is not None:
                    raise RuntimeError("the settling thread died") from self._settler_death
                wait_s: float | None = None
                if self._retries:
                    return self._retries.popleft()
                if self._line and len(self._flying) < _MAX_IN_FLIGHT:
                    self._drop_late()
                    jobs, wait_s = self._pick()
                    if jobs:
                        return jobs
                    if not self._line:
                        continue
                elif self._is_closing and not self._line and not self._flying:
                    return ()
                self._changed.wait(wait_s)

    def _pick(self) -> Pick:
        """The lock is held."""
        while self._line:
            pick = self._policy.pick(
                self._line, self._clock(), room=self._flying.room, is_idle=not self._flying
            )
            if not pick.jobs:
                return pick
            if jobs := self._line.claim(pick.jobs):
                return Pick(jobs)
        return Pick(())

    def _drop_late(self) -> None:
        """Refuse what would end too late; the lock is held."""
        if not self._flying and len(self._line) == 1:
            return  # an idle device tries it: only batches correct the prediction
        for job in self._line.claim(self._line.late(self._clock())):
            job.fail(DeadlineError("The deadline cannot be met"))
            self._observer.dropped(Drop.DEADLINE)

    def _launch(self, flight: Flight, start: Start) -> None:
        with self._changed:
            self._flying.add(flight)
        hook = None if flight.is_interleaved else partial(self._interleave, flight, start)
        try:
            flight.landing = start([job.request for job in flight.jobs], hook)
        except DeviceLostError:
            raise
        except Exception as error:
            self._settler.retry(flight, error)
            return
        if flight.landing.is_landed:
            self._settler.settle(flight)  # nothing to wait for on another thread
        else:
            self._settler.put(flight)

    def _interleave(self, outer: Flight, start: Start) -> None:
        """Run what is urgent; called between the layers of the outer batch, on its thread."""
        if not self._line:
            return
        with self._changed:
            jobs = self._line.claim(self._flying.urgent(self._line, outer))
        if jobs:
            started_s = self._clock()
            outer.num_tokens_lent += sum(job.num_tokens for job in jobs)
            self._launch(Flight(jobs, started_s, is_interleaved=True), start)
            outer.lent_s += self._clock() - started_s

    def _end(self, flight: Flight, retries: Sequence[Sequence[Job]]) -> None:
        with self._changed:
            self._flying.remove(flight)
            self._retries.extendleft(reversed(retries))
            if self._retries or self._line or self._is_closing:  # else nothing is left to do
                self._changed.notify_all()

    def _settler_died(self, error: BaseException) -> None:
        with self._changed:
            self._settler_death = error
            self._changed.notify_all()

    def _abandon(self, error: ServiceError, *, also_running: bool = False) -> None:
        """Give an error to the jobs that nobody will run."""
        with self._changed:
            jobs = self._line.claim(list(self._line))
            if also_running:
                jobs += [job for part in self._retries for job in part]
                jobs += self._flying.jobs()
        for job in jobs:
            job.fail(error)
