"""Writes down what happens while a run is on: one line for each request, one for each reading."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

import orjson

from open_loop.faults import Fault

# Outcomes of requests without a status.
LEFT = "left"  # the client went away, as it was told to
TIMEOUT = "timeout"
WRONG = "wrong answer"  # a 200 without one score a document

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """Records one request.

    Attributes:
        index: the index of its arrival.
        num_documents: the length of its list.
        fault: what was wrong with its client.
        intended_s: when it was to be sent, since the start of the run.
        lag_s: how much later the generator sent it.
        latency_s: the time from when it was to be sent to the last byte of its answer.
        problem: LEFT, TIMEOUT, WRONG, or the name of the client's error.
        timing_ms: what a 200 says in Server-Timing.
    """

    index: int
    stage: int
    num_documents: int
    fault: Fault
    intended_s: float
    lag_s: float
    latency_s: float
    status: int | None = None
    problem: str | None = None
    timing_ms: dict[str, float] = field(default_factory=dict)

    @property
    def is_scored(self) -> bool:
        return self.status == 200 and self.problem is None


@dataclass(frozen=True, slots=True)
class Reading:
    """Records server and generator at one moment.

    Attributes:
        at_s: the time since the start of the run; below 0 before it.
        rss_bytes: resident memory of the server.
        server_cpu_s: processor time of the server so far.
        generator_cpu_s: processor time of the generator so far.
        in_flight: requests sent and not answered.
    """

    at_s: float
    rss_bytes: float
    server_cpu_s: float
    generator_cpu_s: float
    queue_requests: float
    in_flight: int


class Recorder:
    """Appends records to a file; a run that is cut short leaves those so far."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("wb")

    def add(self, record: Sample | Reading) -> None:
        """Write one line."""
        self._file.write(orjson.dumps(dataclasses.asdict(record)) + b"\n")

    def close(self) -> None:
        """Write what is buffered."""
        self._file.close()


def read_samples(path: Path) -> list[Sample]:
    """Read every sample of a file, in order of their arrivals."""
    made = _read(path, lambda row: Sample(**{**row, "fault": Fault(row["fault"])}))
    return sorted(made, key=lambda sample: sample.index)


def read_readings(path: Path) -> list[Reading]:
    return _read(path, lambda row: Reading(**row))


def _read(path: Path, make: Callable[..., T]) -> list[T]:
    return [make(orjson.loads(line)) for line in path.read_bytes().splitlines()]
