"""Plans what one run sends: a scenario with its rates in requests per second, kept as JSON."""

import dataclasses
from dataclasses import dataclass

import orjson

from open_loop.faults import Faults
from open_loop.list_lengths import ListLengths, parse_list_lengths
from open_loop.scenarios import Scenario
from open_loop.workload import DocumentLengths


@dataclass(frozen=True, slots=True)
class TimedStage:
    """Describes a stage with its rate.

    Attributes:
        is_measured: whether it counts in the statistics of the whole run.
    """

    name: str
    rate_per_s: float
    duration_s: float
    is_measured: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Holds everything that the generator needs to know.

    Attributes:
        host: http://name:port.
        seed: decides arrivals and request bodies.
        client_timeout_s: longest wait for an answer; above the server's own deadline.
        sample_every_s: the time between two readings of the server's /metrics.
        max_lists: different lists of each document count; after these they come again.
    """

    host: str
    stages: tuple[TimedStage, ...]
    list_lengths: ListLengths
    faults: Faults
    document_lengths: DocumentLengths
    seed: int
    client_timeout_s: float
    sample_every_s: float
    max_lists: int = 200

    @property
    def duration_s(self) -> float:
        """Add up the durations of all stages."""
        return sum(stage.duration_s for stage in self.stages)

    def stage_start_s(self, place: int) -> float:
        return sum(stage.duration_s for stage in self.stages[:place])

    def place_of(self, name: str) -> int:
        """Return the index of a stage."""
        return [stage.name for stage in self.stages].index(name)

    def to_json(self) -> bytes:
        """Write the plan for from_json."""
        return orjson.dumps(dataclasses.asdict(self) | {"list_lengths": str(self.list_lengths)})


def from_json(raw: bytes) -> Plan:
    """Read a plan that to_json wrote."""
    fields = orjson.loads(raw)
    return Plan(
        **fields
        | {
            "stages": tuple(TimedStage(**stage) for stage in fields["stages"]),
            "list_lengths": parse_list_lengths(fields["list_lengths"]),
            "faults": Faults(**fields["faults"]),
            "document_lengths": DocumentLengths(**fields["document_lengths"]),
        }
    )


def timed_stages(
    scenario: Scenario, capacity_per_s: float, time_scale: float
) -> tuple[TimedStage, ...]:
    """Return a scenario's stages at a capacity, every duration times time_scale."""
    return tuple(
        TimedStage(
            stage.name,
            stage.load * capacity_per_s,
            stage.duration_s * time_scale,
            stage.is_measured,
        )
        for stage in scenario.stages
    )
