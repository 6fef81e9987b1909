"""Judges what a run must hold; together the verdicts decide the exit code."""

import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

_COMPARE = {"<=": operator.le, ">=": operator.ge}
_FORM = re.compile(r"(?P<statistic>\w+) *(?P<sense><=|>=) *(?P<limit>[^@]+)(?:@(?P<part>.+))?")


class ObjectiveError(Exception):
    """An objective cannot be judged; the text says why."""


@dataclass(frozen=True, slots=True)
class Objective:
    """Limits one statistic.

    Attributes:
        statistic: its name in the report.
        sense: which side of the limit is met.
        limit: the bound, in the statistic's unit.
        part: a stage, or "N documents"; None for the whole run.
    """

    statistic: str
    sense: Literal["<=", ">="]
    limit: float
    part: str | None = None

    def __str__(self) -> str:
        place = f" of {self.part}" if self.part else ""
        return f"{self.statistic}{place} {self.sense} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Tells what came of an objective.

    Attributes:
        value: found; None if there was nothing to take it from, which is a miss.
    """

    objective: Objective
    value: float | None

    @property
    def is_met(self) -> bool:
        """Say whether there is a value on the right side of the limit."""
        compare = _COMPARE[self.objective.sense]
        return self.value is not None and bool(compare(self.value, self.objective.limit))

    def __str__(self) -> str:
        found = "no value" if self.value is None else f"{self.value:g}"
        return f"{'met   ' if self.is_met else 'MISSED'} {self.objective}: {found}"


def parse_objective(text: str) -> Objective:
    """Read an objective from `STATISTIC<=LIMIT` or `STATISTIC>=LIMIT`, with `@PART` or without.

    Raises:
        ValueError: not of that form.
    """
    found = _FORM.fullmatch(text)
    try:
        limit = float(found["limit"]) if found else math.nan
    except ValueError:
        limit = math.nan
    if found is None or math.isnan(limit):
        raise ValueError(f"objective {text!r} is not of the form STATISTIC<=LIMIT[@PART]")
    return Objective(
        found["statistic"], "<=" if found["sense"] == "<=" else ">=", limit, found["part"]
    )


def with_changes(usual: Sequence[Objective], given: Iterable[Objective]) -> tuple[Objective, ...]:
    """Return the usual objectives, each replaced by a given one of the same statistic and part."""
    by_place = {(each.statistic, each.part): each for each in (*usual, *given)}
    return tuple(by_place.values())


def judge(
    objectives: Iterable[Objective],
    run: Mapping[str, Any],
    parts: Mapping[str, Mapping[str, Any]],
) -> list[Verdict]:
    """Return a verdict for each objective.

    Args:
        objectives: what the scenario must meet.
        run: statistics of the whole run.
        parts: statistics by stage, and by "N documents".

    Raises:
        ObjectiveError: an objective names a statistic or a part that does not exist.
    """
    return [Verdict(each, _value(each, run, parts)) for each in objectives]


def _value(
    objective: Objective, run: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]
) -> float | None:
    if objective.part is not None and objective.part not in parts:
        raise ObjectiveError(f"objective {objective}: there are {', '.join(parts)}")
    statistics = run if objective.part is None else parts[objective.part]
    if objective.statistic not in statistics:
        raise ObjectiveError(f"objective {objective}: there are {', '.join(statistics)}")
    value: float | None = statistics[objective.statistic]
    return value
