"""Tests whether a difference between two rankings of the same queries is more than chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import permutation_test

NUM_RESAMPLES = 9999
TEST = f"two-sided paired randomisation test, {NUM_RESAMPLES} sign flips"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares ours with theirs.

    Attributes:
        difference: the mean of ours minus theirs.
        p_value: the chance of so large a difference if the two were exchangeable.
        won: counts the queries where ours is higher.
        lost: counts the queries where theirs is higher.
    """

    difference: float
    p_value: float
    won: int
    lost: int


def compare(ours: Mapping[str, float], theirs: Mapping[str, float]) -> Comparison:
    """Compare in pairs over the queries of one set; both hold the same queries."""
    return compare_sets([(ours, theirs)])


def compare_sets(
    pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
) -> Comparison:
    """Compare in pairs over the queries of several sets, of which each counts the same in the mean.

    This is a randomisation test and no t-test: most differences are exactly zero, the rest far from
    normal.
    """
    differences = [np.array([ours[q] - theirs[q] for q in ours]) for ours, theirs in pairs]
    weighted = np.concatenate([d / (len(d) * len(differences)) for d in differences])
    return Comparison(
        difference=float(weighted.sum()),
        p_value=_p_value(weighted),
        won=int(sum((d > 0).sum() for d in differences)),
        lost=int(sum((d < 0).sum() for d in differences)),
    )


def _p_value(differences: NDArray[np.float64]) -> float:
    if len(differences) < 2:
        return 1.0  # one query tells nothing
    found = permutation_test(
        (differences,),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=NUM_RESAMPLES,
        batch=500,
        rng=np.random.default_rng(7),
    )
    return float(found.pvalue)
