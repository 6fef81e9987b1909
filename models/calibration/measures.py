"""Measures whether probabilities are what they say: on documents, and on whole lists."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from blockrank_server.models.calibration.fit import Array, Points
from blockrank_server.models.calibration.score_table import ScoredList
from blockrank_server.models.evaluation.calibration import Bin, calibration_error

_NUM_BINS = 10
_RECALL = 0.9


# What is taken for the chance that each document is relevant.
Chance = Callable[[Points], Array]


class Quality(NamedTuple):
    """Holds what is measured of one line on some lists.

    Attributes:
        num_lists: counts the lists.
        ece: the mean distance of probability and share of relevant ones, in ten bins of as many
            documents each.
        brier: the mean square of probability less label.
        pooled_auc: how well one threshold for all lists tells relevant documents from others.
        list_auc: the same with a threshold for each list, mean over lists.
        auroc: how well the best probability tells lists that hold something relevant.
        false_accept: the share of lists without, where nine in ten with are accepted; nan where
            there are none.
    """

    num_lists: int
    ece: float
    brier: float
    pooled_auc: float
    list_auc: float
    auroc: float
    false_accept: float


def quality(lists: Sequence[ScoredList], chance: Chance) -> Quality:
    points = Points.of(lists)
    p, labels = chance(points), points.labels
    best, has_relevant = best_probabilities(lists, chance)
    threshold = recall_threshold(best, has_relevant)
    alone = [auc(p[own], labels[own]) for own in _by_list(points)]
    return Quality(
        num_lists=len(lists),
        ece=calibration_error(equal_bins(p, labels)),
        brier=float(((p - labels) ** 2).mean()),
        pooled_auc=auc(p, labels),
        list_auc=mean(alone),
        auroc=auc(best, has_relevant),
        false_accept=mean((best >= threshold)[has_relevant == 0].astype(np.float64)),
    )


def equal_bins(p: Array, labels: Array) -> list[Bin]:
    """Part documents by their probability into ten bins of as many each, lowest first."""
    bins = np.array_split(np.argsort(p, kind="stable"), min(_NUM_BINS, len(p)))
    return [Bin(len(own), float(p[own].mean()), float(labels[own].mean())) for own in bins]


def auc(scores: Array, labels: Array) -> float:
    """Return the chance that a 1 has a larger score than a 0; nan where there is one kind only."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    ones, zeros = int((labels == 1).sum()), int((labels == 0).sum())
    if not ones or not zeros:
        return float("nan")
    return float((ranks[labels == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def best_probabilities(lists: Sequence[ScoredList], chance: Chance) -> tuple[Array, Array]:
    """Return the best probability of each list, judged or not, and whether it holds an answer."""
    whole = [ScoredList(x.group, x.query_id, x.level, x.shares, (False,) * len(x.shares))
             for x in lists]  # fmt: skip
    points = Points.of(whole)
    best = np.zeros(len(lists))
    np.maximum.at(best, points.lists, chance(points))
    return best, np.array([float(x.has_relevant) for x in lists])


def recall_threshold(best: Array, has_relevant: Array) -> float:
    """Return the probability that nine in ten lists with something relevant reach."""
    found = best[has_relevant == 1]
    return float(np.quantile(found, 1 - _RECALL, method="lower")) if len(found) else 0.0


def _by_list(points: Points) -> list[np.ndarray]:
    edges = np.flatnonzero(np.diff(points.lists)) + 1
    return np.split(np.arange(len(points.lists)), edges)


def mean(values: Iterable[float]) -> float:
    """Return the mean of what is a number; nan where nothing is."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
