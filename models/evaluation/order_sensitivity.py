"""Tests whether a ranker is blind to the order of its list: the same lists, shuffled."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean

from blockrank_server.models.evaluation.trec import Ranking


@dataclass(frozen=True, slots=True)
class OrderSensitivity:
    """Tells what shuffling changed.

    Attributes:
        queries: counts those that were ranked in both orders.
        mean_change: the mean distance between a document's two scores, as a share of the list's
            mean.
        largest_change: the largest of these distances.
        same_order: the share of queries whose documents come out in the same order.
        same_first: the share of queries whose first document stays.
    """

    queries: int
    mean_change: float
    largest_change: float
    same_order: float
    same_first: float


def order_sensitivity(
    run: Mapping[str, Ranking], shuffled: Mapping[str, Ranking]
) -> OrderSensitivity | None:
    """Compare the scores of lists and shuffled lists; None if no query is in both."""
    queries = [q for q in run if q in shuffled and run[q]]
    if not queries:
        return None
    changes: list[float] = []
    for q in queries:
        before, after = dict(run[q]), dict(shuffled[q])
        scale = mean(before.values()) or 1.0
        changes += [abs(after[doc_id] - score) / scale for doc_id, score in before.items()]
    orders = [([d for d, _ in run[q]], [d for d, _ in shuffled[q]]) for q in queries]
    return OrderSensitivity(
        len(queries),
        mean(changes),
        max(changes),
        mean(a == b for a, b in orders),
        mean(a[0] == b[0] for a, b in orders),
    )
