"""Measures whether a score can be read as the chance that a document is relevant."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from blockrank_server.models.evaluation.sets import Qrels
from blockrank_server.models.evaluation.trec import Ranking

# Lower edges: most documents of a list have a small share of its attention.
_EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, slots=True)
class Bin:
    """Describes documents with like scores.

    Attributes:
        documents: counts them.
        score: the mean of their scores, as a share of the largest possible one.
        relevant: the share of them that is judged relevant; what is not judged is not relevant.
    """

    documents: int
    score: float
    relevant: float


def calibration(
    run: Mapping[str, Ranking], qrels: Qrels, min_relevance: int, max_score: float
) -> list[Bin]:
    """Return the bins by score, lowest first; empty ones are left out."""
    pairs: list[list[tuple[float, bool]]] = [[] for _ in _EDGES]
    for query_id, ranking in run.items():
        if query_id not in qrels:
            continue
        for doc_id, raw in ranking:
            score = raw / max_score
            is_relevant = qrels[query_id].get(doc_id, 0) >= min_relevance
            pairs[max(bisect_right(_EDGES, score) - 1, 0)].append((score, is_relevant))
    return [
        Bin(len(found), *(sum(column) / len(found) for column in zip(*found, strict=True)))
        for found in pairs
        if found
    ]


def calibration_error(bins: list[Bin]) -> float:
    """Return the mean distance between score and share of relevant ones, weighted by documents."""
    total = sum(b.documents for b in bins)
    return sum(b.documents * abs(b.score - b.relevant) for b in bins) / total
