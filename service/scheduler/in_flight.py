"""Batches on their way through the model, and what may be predicted of them."""

from collections.abc import Callable, Iterable, Sequence

from blockrank_server.service.scheduler.duration_model import Throughput
from blockrank_server.service.scheduler.limits import Limits
from blockrank_server.service.scheduler.policy import Job, LengthBuckets
from blockrank_server.service.scheduler.running_batch import Flight


class InFlight:
    """Launched or about to be, and not settled; in order of launch. The batcher's lock guards it.

    Args:
        policy: which jobs are urgent.
        limits: of batches.
        throughput: predicts durations.
        clock: seconds.
    """

    def __init__(
        self,
        policy: LengthBuckets,
        limits: Limits,
        throughput: Throughput,
        clock: Callable[[], float],
    ) -> None:
        self._policy, self._limits = policy, limits
        self._throughput, self._clock = throughput, clock
        self._flights: list[Flight] = []

    def __len__(self) -> int:
        return len(self._flights)

    def add(self, flight: Flight) -> None:
        """One more, behind the others."""
        self._flights.append(flight)

    def remove(self, flight: Flight) -> None:
        """It is settled."""
        self._flights.remove(flight)

    @property
    def room(self) -> float:
        """Tokens of a batch, at the speed of late."""
        return min(self._limits.max_batch_tokens, self._throughput.tokens(self._limits.max_batch_s))

    def jobs(self) -> list[Job]:
        """Of all of them."""
        return [job for flight in self._flights for job in flight.jobs]

    def ahead_s(self, job: Job | None = None) -> float | None:
        """Seconds until the device is free for a job; None if it is idle.

        Args:
            job: any, or None for one that is not urgent.
        """
        if not self._flights:
            return None
        first, last = self._flights[0], self._flights[-1]
        if job is not None and self.urgent([job], last):
            return 0.0
        num_tokens = sum(flight.num_tokens + flight.num_tokens_lent for flight in self._flights)
        passed_s = self._clock() - first.started_s
        return max(0.0, self._throughput.seconds(num_tokens) - passed_s)

    def urgent(self, waiting: Iterable[Job], outer: Flight) -> Sequence[Job]:
        """Jobs to run amid a batch: no more tokens than its own, and none that make it late.

        Args:
            waiting: any number of jobs.
            outer: the batch.
        """
        num_tokens = outer.num_tokens + outer.num_tokens_lent
        end_s = outer.started_s + self._throughput.seconds(num_tokens)
        slack_s = max(0.0, min(job.deadline_s for job in outer.jobs) - end_s)
        own = outer.num_tokens - outer.num_tokens_lent
        limit = min(own, self._throughput.tokens(slack_s))
        return self._policy.pick_urgent(waiting, outer.jobs, room=self.room, limit=limit)
