"""Keeps the batches that are running: launched or about to be, and neither done nor failed."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.remote.pending_chains import PendingChains
from blockrank_server.service.scheduler.duration_model import DurationModel
from blockrank_server.service.scheduler.job import Job


class ScoresFuture(Protocol):
    """Holds scores to come, as Ranker.start gives them.

    Attributes:
        was_split: whether the batch was too large for the device's memory.
        is_done: whether the scores were there when start returned: always so on a CPU, never on
            another device.
    """

    was_split: bool
    is_done: bool

    def result(self) -> list[list[float]]:
        """Wait for the device, then give raw scores, one row a request."""

    def levels(self) -> list[float]:
        """Give the level of each request's list, after result."""

    def part_shares(self) -> list[list[float]]:
        """Give the shares of documents' parts, one row a request; empty where none are asked for.

        It is called after result.
        """


# (batch, between_steps) -> scores to come
Start = Callable[[Sequence[EncodedRequest], Callable[[], None] | None], ScoresFuture]


class BatchReport(NamedTuple):
    """Reports one forward pass that gave scores.

    Attributes:
        num_tokens: what its jobs cost, in tokens to be computed.
        infer_s: its duration, without that of the batches that preempted it.
        was_split: it took two passes, for want of memory.
        is_preempting: it ran between the steps of another.
    """

    num_requests: int
    num_tokens: int
    infer_s: float
    was_split: bool = False
    is_preempting: bool = False


@dataclass(slots=True, eq=False)
class RunningBatch:
    """Holds jobs that share one forward pass.

    Attributes:
        jobs: one row of scores each.
        started_s: when it was launched, on the batcher's clock.
        is_preempting: whether it runs between the steps of another.
        scores: those to come; None until it is launched.
        preempted_s: time that others took between its steps.
        num_preempting_tokens: tokens of those others.
    """

    jobs: Sequence[Job]
    started_s: float
    is_preempting: bool = False
    scores: ScoresFuture | None = None
    preempted_s: float = 0.0
    num_preempting_tokens: int = 0

    @property
    def num_tokens(self) -> int:
        """Count what its own jobs cost, in tokens."""
        return sum(job.num_tokens for job in self.jobs)

    @property
    def num_computed_tokens(self) -> int:
        return sum(job.request.num_computed_tokens for job in self.jobs)

    @property
    def num_known_tokens(self) -> int:
        return sum(job.request.num_known_tokens for job in self.jobs)

    @property
    def is_one_of_many(self) -> bool:
        """Say whether others run beside it, so that its time is its own."""
        return isinstance(self.scores, PendingChains)

    def is_abandoned(self, now_s: float) -> bool:
        """Say whether nobody waits for any of its jobs, and its forward pass can still be ended."""
        return self.scores is None and all(job.is_abandoned(now_s) for job in self.jobs)

    def rows(self) -> list[tuple[list[float], float, list[float]]]:
        """Wait for the device, then give each job's raw scores, level and shares of parts.

        Raises:
            RuntimeError: there are more or fewer rows than jobs.
        """
        assert self.scores is not None
        scores, levels = self.scores.result(), self.scores.levels()
        shares = self.scores.part_shares()
        if not len(scores) == len(levels) == len(shares) == len(self.jobs):
            raise RuntimeError(f"{len(self.jobs)} requests gave {len(scores)} rows of scores")
        return list(zip(scores, levels, shares, strict=True))

    def report(self, done_s: float, before_s: float) -> BatchReport:
        """Say what the metrics need.

        Args:
            done_s: when the scores were there.
            before_s: when those of the batch before were: a device runs one batch at a time.
        """
        # Those that preempted it were done after it had started.
        begun_s = self.started_s if self.num_preempting_tokens else max(self.started_s, before_s)
        assert self.scores is not None
        return BatchReport(
            num_requests=len(self.jobs),
            num_tokens=self.num_tokens,
            infer_s=max(0.0, done_s - begun_s - self.preempted_s),
            was_split=self.scores.was_split,
            is_preempting=self.is_preempting,
        )


class RunningBatches:
    """Keeps every running batch, in order of launch, and the parts of failed ones to run again.

    The batcher's lock guards them.

    Args:
        duration_model: predicts when they are done.
        clock: seconds; that of RunningBatch.started_s.
    """

    def __init__(self, duration_model: DurationModel, clock: Callable[[], float]) -> None:
        self._duration_model, self._clock = duration_model, clock
        self._batches: list[RunningBatch] = []
        self._retries: deque[Sequence[Job]] = deque()

    def __len__(self) -> int:
        return len(self._batches)

    def add(self, batch: RunningBatch) -> None:
        self._batches.append(batch)

    def remove(self, batch: RunningBatch, retries: Sequence[Sequence[Job]]) -> None:
        """Take out a batch that is done; or that failed, with the parts of it to run again."""
        self._batches.remove(batch)
        self._retries.extendleft(reversed(retries))

    def next_retry(self) -> Sequence[Job]:
        """Take out the first part to run again; empty if there is none."""
        return self._retries.popleft() if self._retries else ()

    @property
    def last(self) -> RunningBatch | None:
        """Return the batch launched last, if any runs."""
        return self._batches[-1] if self._batches else None

    def jobs(self) -> list[Job]:
        """Give the jobs of all, those to run again too."""
        parts = [*self._retries, *(batch.jobs for batch in self._batches)]
        return [job for part in parts for job in part]

    def remaining_s(self) -> float | None:
        """Predict the seconds until the device is free; None if it is idle, or about to be."""
        now_s = self._clock()
        batches = [each for each in self._batches if not each.is_abandoned(now_s)]
        if not batches:
            return None
        num_tokens = sum(each.num_tokens + each.num_preempting_tokens for each in batches)
        passed_s = now_s - batches[0].started_s
        return max(0.0, self._duration_model.predict_s(num_tokens) - passed_s)
