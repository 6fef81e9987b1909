"""Waits for the scores of launched batches and answers their jobs, on a thread of its own."""

import math
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Protocol

import structlog

from blockrank_server.models.errors import DeviceLostError, DeviceMemoryError
from blockrank_server.service.errors import InferenceError
from blockrank_server.service.scheduler.duration_model import Throughput
from blockrank_server.service.scheduler.policy import Job, Scored
from blockrank_server.service.scheduler.running_batch import BatchReport, Drop, Flight

# (flight, parts of it to be run again)
OnEnd = Callable[[Flight, Sequence[Sequence[Job]]], None]


class Observer(Protocol):
    """Is told what happens. Called on the batcher's threads and on those of callers."""

    def landed(self, report: BatchReport) -> None:
        """A batch gave its scores."""

    def failed(self) -> None:
        """A batch raised; its jobs are tried in halves."""

    def dropped(self, reason: Drop) -> None:
        """An accepted job will not be run."""


class Settler:
    """Answers in the order in which batches were launched.

    Flights are either all put, or all settled on the thread that launches them.

    Args:
        observer: is told what happens.
        throughput: learns how fast batches are.
        clock: seconds.
        on_end: called when a flight is over.
        on_death: called with what ended the thread, unless that was stop.
    """

    def __init__(
        self,
        observer: Observer,
        throughput: Throughput,
        clock: Callable[[], float],
        on_end: OnEnd,
        on_death: Callable[[BaseException], None],
    ) -> None:
        self._observer, self._throughput, self._clock = observer, throughput, clock
        self._on_end, self._on_death = on_end, on_death
        self._launched: SimpleQueue[Flight | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="settle", daemon=True)
        self._landed_s = -math.inf  # when the scores of the flight before were there
        self._log = structlog.get_logger(__name__)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, flight: Flight) -> None:
        """Wait for a launched flight, behind those before it."""
        self._launched.put(flight)

    def stop(self) -> None:
        """End the thread when what was put before is answered."""
        self._launched.put(None)

    def retry(self, flight: Flight, error: Exception) -> None:
        """Have the halves of a batch that failed tried, so that only the job at fault fails."""
        jobs = flight.jobs
        self._log.error("a batch failed", num_requests=len(jobs), exc_info=error)
        self._observer.failed()
        if len(jobs) == 1:
            jobs[0].fail(_inference_error(error))
            self._on_end(flight, ())
            return
        half = len(jobs) // 2
        self._on_end(flight, (jobs[:half], jobs[half:]))

    def _run(self) -> None:
        try:
            while (flight := self._launched.get()) is not None:
                self.settle(flight)
        except BaseException as error:
            self._on_death(error)

    def settle(self, flight: Flight) -> None:
        """Answer the jobs of a flight, when it has landed."""
        try:
            rows = flight.rows()
        except DeviceLostError:
            raise
        except Exception as error:
            self.retry(flight, error)
            return
        landed_s = self._clock()
        report = flight.report(landed_s, self._landed_s)
        self._landed_s = landed_s
        self._throughput.record(report.num_tokens, report.infer_s)
        self._observer.landed(report)
        for job, row in zip(flight.jobs, rows, strict=True):
            if len(row) == job.request.num_documents and all(map(math.isfinite, row)):
                job.give(Scored(row, flight.started_s - job.accepted_s, report.infer_s))
            else:
                self._log.error("not one finite score a document", num_scores=len(row))
                job.fail(_inference_error())
        self._on_end(flight, ())


def _inference_error(error: BaseException | None = None) -> InferenceError:
    is_memory = isinstance(error, DeviceMemoryError)  # fit for the caller: it holds no text
    failure = InferenceError(str(error) if is_memory else "Inference failed")
    failure.__cause__ = error
    return failure
