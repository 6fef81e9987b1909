"""Measures how well one list is ranked, for progress and validation, not for results."""

import math
from collections.abc import Sequence


def list_measures(
    scores: Sequence[float], relevance: Sequence[int], positive: Sequence[bool]
) -> dict[str, float]:
    """Compute precision of the first document, reciprocal rank, nDCG@10 within the list.

    Ties count against the relevant documents.

    Args:
        scores: one for each document.
        relevance: what each document gains; its exponential is not taken.
        positive: says of each document whether precision and rank count it as relevant.
    """
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], relevance[i]))
    first = next((rank for rank, i in enumerate(order, 1) if positive[i]), None)
    gain = _dcg([relevance[i] for i in order])
    best = _dcg(sorted(relevance, reverse=True))
    return {
        "p@1": float(first == 1),
        "rr": 1.0 / first if first else 0.0,
        "ndcg@10": gain / best if best else 0.0,
    }


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains[:10], 1))
