"""Lists the scenarios. Rates are shares of a capacity that is measured first, or given."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from open_loop.faults import NO_FAULTS, Faults
from open_loop.list_lengths import ListLengths, parse_list_lengths
from open_loop.objectives import Objective

_TYPICAL = parse_list_lengths("10:0.5,20:0.3,100:0.2")


@dataclass(frozen=True, slots=True)
class Stage:
    """Describes a time of one arrival rate.

    Attributes:
        name: its name in the report, which no other stage of the scenario has.
        load: arrival rate as a share of capacity.
        is_measured: whether it counts in the statistics of the whole run; a warm-up does not.
    """

    name: str
    load: float
    duration_s: float
    is_measured: bool = True


@dataclass(frozen=True, slots=True)
class Scenario:
    """Describes what is sent, and what must come of it.

    Attributes:
        name: what selects it on the command line.
        purpose: the question it answers.
        objectives: must all be met for exit code 0.
        faults: clients that are slow or go away.
        reference: the stage whose latency counts as normal after an overload.
        overloads: the stages that overload; the time to recover is taken after the last of them.
    """

    name: str
    purpose: str
    stages: tuple[Stage, ...]
    objectives: tuple[Objective, ...]
    list_lengths: ListLengths = _TYPICAL
    faults: Faults = NO_FAULTS
    reference: str | None = None
    overloads: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """Add up the durations of all stages."""
        return sum(stage.duration_s for stage in self.stages)


# Held by every scenario, whatever the load: nothing sent is lost, and both sides count the same.
_NOTHING_LOST = (
    Objective("unanswered", "<=", 0),
    Objective("client_failures", "<=", 0),
    Objective("wrong_answers", "<=", 0),
    Objective("unreconciled", "<=", 0),
)
# A generator later than this does not offer the load it states.
_PUNCTUAL = Objective("lag_p99_ms", "<=", 100)
_NO_ERRORS = Objective("error_share", "<=", 0.001)
# What a load that a server must bear has to meet.
_ALL_SERVED = (*_NOTHING_LOST, _PUNCTUAL, _NO_ERRORS, Objective("goodput_share", ">=", 0.99))

_ALL = (
    Scenario(
        "smoke",
        "does every document count get an answer",
        (Stage("smoke", 0.3, 10),),
        (*_NOTHING_LOST, Objective("error_share", "<=", 0)),
    ),
    Scenario(
        "steady",
        "latency at a load that is sensible to run at",
        (Stage("warm-up", 0.5, 30, is_measured=False), Stage("steady", 0.5, 300)),
        (
            *_ALL_SERVED,
            # At half load an ideal server that keeps the order has 3.6 and 1.
            Objective("largest_p99_over_p50", "<=", 5),
            Objective("worst_p99_over_fifo", "<=", 2),
        ),
    ),
    Scenario(
        "busy",
        "how far from the median is the slowest hundredth near the load where one adds a server",
        (Stage("warm-up", 0.7, 30, is_measured=False), Stage("busy", 0.7, 300)),
        (
            *_ALL_SERVED,
            # One server has 4.3 at its best, eight behind one front have 2 (deploy/CAPACITY.md).
            Objective("largest_p99_over_p50", "<=", 2),
        ),
    ),
    Scenario(
        "step",
        "where latency leaves the ground",
        tuple(Stage(f"{load:.0%}", load, 60) for load in (0.2, 0.4, 0.6, 0.8, 1.0)),
        (
            *_NOTHING_LOST,
            _PUNCTUAL,
            Objective("error_share", "<=", 0.001, part="20%"),
            Objective("error_share", "<=", 0.001, part="40%"),
            Objective("error_share", "<=", 0.001, part="60%"),
            Objective("goodput_share", ">=", 0.95, part="80%"),
            Objective("goodput_share", ">=", 0.8, part="100%"),
        ),
    ),
    Scenario(
        "soak",
        "does anything grow or drift in an hour",
        (Stage("warm-up", 0.5, 60, is_measured=False), Stage("soak", 0.5, 3600)),
        (
            *_ALL_SERVED,
            Objective("memory_growth_share", "<=", 0.05),
        ),
    ),
    Scenario(
        "overload",
        "what becomes of the work that can be done when far more is asked for",
        (
            Stage("before", 0.5, 60),
            Stage("2x", 2, 120),
            Stage("5x", 5, 120),
            Stage("recovery", 0.5, 120),
        ),
        (
            *_NOTHING_LOST,
            _PUNCTUAL,
            Objective("error_share", "<=", 0.001, part="before"),
            Objective("goodput_share", ">=", 0.9, part="2x"),
            Objective("goodput_share", ">=", 0.9, part="5x"),
            Objective("rejected_p99_ms", "<=", 50, part="2x"),
            Objective("rejected_p99_ms", "<=", 50, part="5x"),
            Objective("recovery_s", "<=", 5),
            Objective("memory_growth_share", "<=", 0.05),
        ),
        reference="before",
        overloads=("2x", "5x"),
    ),
    Scenario(
        "mixed",
        "do small lists suffer beside large ones and beside clients that misbehave",
        (Stage("warm-up", 0.5, 30, is_measured=False), Stage("mixed", 0.5, 300)),
        (*_NOTHING_LOST, _PUNCTUAL, _NO_ERRORS, Objective("goodput_share", ">=", 0.95)),
        list_lengths=parse_list_lengths("5:0.3,10:0.3,20:0.2,50:0.1,100:0.1"),
        faults=Faults(slow=0.05, leaving=0.05, leaving_mid_body=0.05),
    ),
)

SCENARIOS: Mapping[str, Scenario] = MappingProxyType({each.name: each for each in _ALL})
