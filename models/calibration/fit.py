"""Fits the numbers of a calibration: logistic regression of judgements on shares and levels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockrank_server.models.calibration.errors import CalibrationError
from blockrank_server.models.calibration.score_table import ScoredList
from blockrank_server.models.checkpoint.calibration import TINIEST_SHARE

Array = NDArray[np.float64]
_MAX_STEPS = 100
# Where a threshold parts all judgements the logits would grow without end.
_RIDGE = 1e-3


class Line(NamedTuple):
    """Holds z = slope * (log(n * share) + level_weight * level) + intercept."""

    slope: float
    intercept: float
    level_weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Holds the judged documents of lists, D in all.

    Attributes:
        log_shares: [D] log(n * share).
        levels: [D] the level of the document's list.
        labels: [D] 1 where it is relevant.
        lists: [D] the list's place.
        weights: [D] what a document counts; each list counts the same.
    """

    log_shares: Array
    levels: Array
    labels: Array
    lists: NDArray[np.int64]
    weights: Array

    @classmethod
    def of(cls, lists: Sequence[ScoredList]) -> "Points":
        rows = [
            (np.log(max(share, TINIEST_SHARE) * len(x.shares)), x.level, label, i, 1 / x.num_judged)
            for i, x in enumerate(lists)
            for share, label in zip(x.shares, x.labels, strict=True)
            if label is not None
        ]
        columns = np.array(rows, np.float64).reshape(-1, 5).T
        return cls(columns[0], columns[1], columns[2], columns[3].astype(np.int64), columns[4])

    def logits(self, line: Line) -> Array:
        return line.slope * (self.log_shares + line.level_weight * self.levels) + line.intercept


def fit_line(points: Points) -> Line:
    """Fit slope, intercept and level weight, which stays in 0 to 1.

    Raises:
        CalibrationError: a larger share does not make a document more likely to be relevant.
    """
    slope, of_level, intercept = _regress(points, [points.log_shares, points.levels])
    level_weight = of_level / slope if slope > 0 else 0.0
    if slope > 0 and 0 <= level_weight <= 1:
        return Line(slope, intercept, level_weight)
    return refit_line(points, float(np.clip(level_weight, 0.0, 1.0)))


def refit_line(points: Points, level_weight: float) -> Line:
    """Fit slope and intercept alone.

    Raises:
        CalibrationError: as fit_line.
    """
    slope, intercept = _regress(points, [points.log_shares + level_weight * points.levels])
    if slope <= 0:
        raise CalibrationError(
            f"the judgements contradict the scores: the slope is {slope:.3f}, above 0 is needed"
        )
    return Line(slope, intercept, level_weight)


def _regress(points: Points, columns: Sequence[Array]) -> list[float]:
    """Return the coefficients of columns, and the constant, by Newton's method."""
    x_DP = np.stack([*columns, np.ones_like(points.labels)], axis=1)
    ridge_P = np.append(np.full(len(columns), _RIDGE), 0.0)
    found_P = np.zeros(x_DP.shape[1])
    weights = points.weights / points.weights.mean()
    for _ in range(_MAX_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x_DP @ found_P, -50.0, 50.0)))
        gradient_P = x_DP.T @ (weights * (p - points.labels)) + ridge_P * found_P
        curvature_PP = (x_DP.T * (weights * np.maximum(p * (1 - p), 1e-9))) @ x_DP
        step_P = np.linalg.solve(curvature_PP + np.diag(ridge_P + 1e-9), gradient_P)
        found_P -= step_P * min(1.0, 5.0 / np.abs(step_P).max(initial=1e-12))
        if np.abs(step_P).max() < 1e-9:
            break
    return [float(value) for value in found_P]
