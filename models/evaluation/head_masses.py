"""Measures what every head of every layer sees of lists with known answers.

Axes: H = heads of all layers measured, lowest layer first; N = documents of a list.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockrank_server.models.checkpoint.card import Card, ReadPoint
from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.evaluation.errors import EvaluationError
from blockrank_server.models.evaluation.scorer import Progress
from blockrank_server.models.evaluation.sets import EvaluationSet
from blockrank_server.models.ranker import Ranker

JudgedList = tuple[Shortlist, NDArray[np.bool_]]
"""A list, and which of its documents are relevant."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadMass:
    """Holds what the heads see of one list.

    Attributes:
        mass_HN: [H, N] the mean over signal tokens.
        positive_N: [N] whether a document is relevant.
    """

    mass_HN: NDArray[np.float32]
    positive_N: NDArray[np.bool_]


def all_heads_card(card: Card, last_layer: int) -> Card:
    """Return a card that reads all heads of all layers up to the last one, without its adapter."""
    read = tuple(ReadPoint(layer=layer, heads="all") for layer in range(last_layer + 1))
    return card.model_copy(update={"read": read, "adapter": None})


def draw_lists(
    found: EvaluationSet, num_lists: int, num_documents: int, seed: int
) -> list[JudgedList]:
    """Draw lists with something to tell apart, and tell which of their documents are relevant.

    A list with more documents keeps the first ones, and the first relevant one with them.

    Raises:
        EvaluationError: the set has fewer than two such lists.
    """
    usable = []
    for x in found.lists:
        judged = found.qrels.get(x.query_id, {})
        positive = [judged.get(doc_id, 0) > 0 for doc_id in x.doc_ids]
        if any(positive) and not all(positive):
            usable.append((x, positive))
    if len(usable) < 2:
        raise EvaluationError(
            f"set {found.name}: {len(usable)} lists hold relevant and other documents, 2 are needed"
        )
    drawn = random.Random(seed).sample(usable, min(num_lists, len(usable)))
    return [_cut(x, positive, num_documents) for x, positive in drawn]


def measure_heads(
    ranker: Ranker,
    lists: Sequence[JudgedList],
    progress: Progress,
) -> list[HeadMass]:
    """Measure the mass of every head that the ranker reads, list by list."""
    found = []
    for x, positive_N in lists:
        (mass_HN,) = ranker.head_masses([ranker.encode(x.query, x.documents)])
        found.append(HeadMass(mass_HN, positive_N))
        progress(1)
    return found


def _cut(x: Shortlist, positive: Sequence[bool], num_documents: int) -> JudgedList:
    first = positive.index(True)
    kept = list(range(min(num_documents, len(positive))))
    if first not in kept:
        kept[-1] = first
    shown = Shortlist(
        x.query_id,
        x.query,
        tuple(x.doc_ids[i] for i in kept),
        tuple(x.documents[i] for i in kept),
        x.answer_ids,
    )
    return shown, np.array([positive[i] for i in kept])
