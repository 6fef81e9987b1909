"""Makes a calibration of scored lists, or fits two numbers of one anew on a few judgements."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from blockrank_server.models.calibration.errors import CalibrationError
from blockrank_server.models.calibration.fit import Line, Points, fit_line
from blockrank_server.models.calibration.measures import (
    Quality,
    best_probabilities,
    equal_bins,
    mean,
    quality,
    recall_threshold,
)
from blockrank_server.models.calibration.score_table import ScoredList
from blockrank_server.models.checkpoint.calibration import Calibration, probability
from blockrank_server.models.evaluation.calibration import Bin

LEVEL_WEIGHT = 0.5
MIN_LISTS, MIN_LISTS_OF_A_KIND = 100, 20
MIN_JUDGEMENTS, MIN_JUDGEMENTS_OF_A_KIND = 50, 10


class Row(NamedTuple):
    """Holds one row of the report: what lists, fitted on what, and how well it does."""

    name: str
    fitted_on: str
    quality: Quality


class Fitted(NamedTuple):
    """Holds a calibration, and how it was judged."""

    calibration: Calibration
    rows: list[Row]


class Judged(NamedTuple):
    """Holds how good a calibration is on lists it was not fitted on.

    Attributes:
        bins: compares probabilities with judgements, for each set and for all.
    """

    rows: list[Row]
    bins: dict[str, list[Bin]]


def calibrate(lists: Sequence[ScoredList], level_weight: float = LEVEL_WEIGHT) -> Fitted:
    """Fit a calibration on all lists, and judge each set by one fitted on the others.

    Where there is one set, each half of its queries is judged by the other.

    Raises:
        CalibrationError: there are too few lists, or too few with or without something relevant;
            or the judgements contradict the scores.
    """
    _check_lists(lists)
    names = sorted({x.group for x in lists})
    groups = {name: [x for x in lists if x.group == name] for name in names}
    if len(names) == 1:
        queries = sorted({x.query_id for x in lists})
        first = set(queries[: len(queries) // 2])
        halves = ([x for x in lists if (x.query_id in first) is is_in] for is_in in (True, False))
        groups = dict(zip((f"{names[0]}, half", f"{names[0]}, other half"), halves, strict=True))
    rows = []
    for name, own in groups.items():
        others = [x for other, found in groups.items() if other != name for x in found]
        rows.append(
            Row(name, "the others", _judged(own, fit_line(Points.of(others), level_weight)))
        )
    line = fit_line(Points.of(lists), level_weight)
    rows.append(Row("all", "all", _judged(lists, line)))
    best, has_relevant = best_probabilities(lists, line.chance)
    return Fitted(
        Calibration(
            **_rounded(line),
            any_relevant_from=round(recall_threshold(best, has_relevant), 6),
            fitted_on=tuple(names),
            num_lists=len(lists),
            ece=round(mean(row.quality.ece for row in rows[:-1]), 4),
            auroc=round(mean(row.quality.auroc for row in rows[:-1]), 4),
        ),
        rows,
    )


def refit(before: Calibration, lists: Sequence[ScoredList]) -> Fitted:
    """Fit slope and intercept anew, and leave all else.

    Raises:
        CalibrationError: there are too few judgements, or too few of one kind; or they contradict
            the scores.
    """
    _check_judgements(lists)
    old = _line(before)
    line = fit_line(Points.of(lists), before.level_weight)
    after = _judged(lists, line)
    return Fitted(
        before.model_copy(
            update=_rounded(line)
            | {
                "any_relevant_from": round(_moved(before.any_relevant_from, old, line), 6),
                "fitted_on": tuple(sorted({x.group for x in lists})),
                "num_lists": len(lists),
                "ece": round(after.ece, 4),
            }
        ),
        [Row("all", "as it was", _judged(lists, old)), Row("all", "all", after)],
    )


def judge(calibration: Calibration, lists: Sequence[ScoredList]) -> Judged:
    """Judge a calibration on each set, beside the shares that it is made of."""
    line, found = _line(calibration), Judged([], {})
    groups = {
        name: [x for x in lists if x.group == name] for name in sorted({x.group for x in lists})
    }
    for name, own in (groups | {"all": list(lists)}).items():
        points = Points.of(own)
        found.bins[name] = equal_bins(line.chance(points), points.labels)
        found.rows.append(Row(name, "as it was", _judged(own, line)))
        found.rows.append(Row(name, "share", quality(own, lambda points: points.shares)))
    return found


def _judged(lists: Sequence[ScoredList], line: Line) -> Quality:
    return quality(lists, line.chance)


def _line(calibration: Calibration) -> Line:
    return Line(calibration.slope, calibration.intercept, calibration.level_weight)


def _rounded(line: Line) -> dict[str, float]:
    return {name: round(value, 6) for name, value in line._asdict().items()}


def _moved(threshold: float, old: Line, new: Line) -> float:
    """Return the threshold that accepts the same lists by the new line."""
    if not 0 < threshold < 1:
        return threshold
    z = math.log(threshold / (1 - threshold))
    return probability((z - old.intercept) / old.slope * new.slope + new.intercept)


def _check_lists(lists: Sequence[ScoredList]) -> None:
    num_with = sum(x.has_relevant for x in lists)
    if len(lists) < MIN_LISTS:
        raise CalibrationError(
            f"there are {len(lists)} lists with judgements, {MIN_LISTS} are needed; 50 judgements "
            "are enough for --refit"
        )
    for num, what in ((num_with, "with"), (len(lists) - num_with, "without")):
        if num < MIN_LISTS_OF_A_KIND:
            raise CalibrationError(
                f"the judgements are one-sided: {num} of {len(lists)} lists are {what} a relevant "
                f"document, {MIN_LISTS_OF_A_KIND} are needed"
            )


def _check_judgements(lists: Sequence[ScoredList]) -> None:
    labels = [label for x in lists for label in x.labels if label is not None]
    if len(labels) < MIN_JUDGEMENTS:
        raise CalibrationError(f"there are {len(labels)} judgements, {MIN_JUDGEMENTS} are needed")
    for num, what in ((sum(labels), "relevant"), (len(labels) - sum(labels), "not relevant")):
        if num < MIN_JUDGEMENTS_OF_A_KIND:
            raise CalibrationError(
                f"the judgements are one-sided: {num} of {len(labels)} are {what}, "
                f"{MIN_JUDGEMENTS_OF_A_KIND} are needed"
            )
