"""Fits slope and intercept of a calibration: logistic regression of judgements."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockrank_server.models.calibration.errors import CalibrationError
from blockrank_server.models.calibration.score_table import ScoredList
from blockrank_server.models.checkpoint.calibration import TINIEST_SHARE

Array = NDArray[np.float64]
_MAX_STEPS, _MAX_STEP, _TOLERANCE = 100, 5.0, 1e-9
# Where a threshold parts all judgements the logits would grow without end.
_RIDGE = 1e-3


class Line(NamedTuple):
    """Holds z = slope * (log(n * share) + level_weight * level) + intercept."""

    slope: float
    intercept: float
    level_weight: float

    def chance(self, points: "Points") -> Array:
        """Return the probability of each document."""
        return sigmoid(points.logits(self))


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Holds the judged documents of lists, D in all.

    Attributes:
        shares: [D] of the document's list.
        log_shares: [D] log(n * share).
        levels: [D] the level of the document's list.
        labels: [D] 1 where it is relevant.
        lists: [D] the list's place.
        weights: [D] what a document counts; each list counts the same.
    """

    shares: Array
    log_shares: Array
    levels: Array
    labels: Array
    lists: NDArray[np.int64]
    weights: Array

    @classmethod
    def of(cls, lists: Sequence[ScoredList]) -> "Points":
        rows = [
            (share, len(x.shares), x.level, label, i, 1 / x.num_judged)
            for i, x in enumerate(lists)
            for share, label in zip(x.shares, x.labels, strict=True)
            if label is not None
        ]
        share, num, level, label, place, weight = np.array(rows, np.float64).reshape(-1, 6).T
        log_share = np.log(np.maximum(share, TINIEST_SHARE) * num)
        return cls(share, log_share, level, label, place.astype(np.int64), weight)

    def logits(self, line: Line) -> Array:
        return line.slope * (self.log_shares + line.level_weight * self.levels) + line.intercept


def fit_line(points: Points, level_weight: float) -> Line:
    """Fit slope and intercept.

    The level weight is no affair of judgements: whatever it is, the other two make probabilities of
    it. It trades one threshold for all lists (0) for parts of a list that can be merged (1).

    Raises:
        CalibrationError: a larger share does not make a document more likely to be relevant.
    """
    slope, intercept = _regress(points, points.log_shares + level_weight * points.levels)
    if slope <= 0:
        raise CalibrationError(
            f"the judgements contradict the scores: the slope is {slope:.3f}, above 0 is needed"
        )
    return Line(slope, intercept, level_weight)


def _regress(points: Points, x: Array) -> tuple[float, float]:
    """Return the coefficient of x and the constant, by Newton's method."""
    x_D2 = np.stack([x, np.ones_like(x)], axis=1)
    ridge_2 = np.array([_RIDGE, 0.0])
    found_2 = np.zeros(2)
    weights = points.weights / points.weights.mean()
    for _ in range(_MAX_STEPS):
        p = sigmoid(x_D2 @ found_2)
        gradient_2 = x_D2.T @ (weights * (p - points.labels)) + ridge_2 * found_2
        curvature_22 = (x_D2.T * (weights * np.maximum(p * (1 - p), 1e-9))) @ x_D2
        step_2 = np.linalg.solve(curvature_22 + np.diag(ridge_2 + 1e-9), gradient_2)
        largest = float(np.abs(step_2).max())
        found_2 -= step_2 * min(1.0, _MAX_STEP / max(largest, _TOLERANCE))
        if largest < _TOLERANCE:
            break
    return float(found_2[0]), float(found_2[1])


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(z, -700.0, 700.0)))
