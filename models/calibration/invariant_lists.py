"""Draws whole lists, and measures by a ranker what their scores owe to the rest of the list."""

import random
from collections.abc import Iterable, Sequence

import numpy as np

from blockrank_server.models.calibration.errors import CalibrationError
from blockrank_server.models.calibration.invariance import (
    NUM_ADDED,
    NUM_DOCUMENTS,
    ListInvariance,
    Rank,
    Scored,
    list_invariance,
)
from blockrank_server.models.checkpoint.any_card import attention_card
from blockrank_server.models.data.shortlists import Document, Shortlist
from blockrank_server.models.evaluation.scorer import Progress
from blockrank_server.models.evaluation.sets import EvaluationSet
from blockrank_server.models.ranker import Ranker
from blockrank_server.models.score_scale import ScoreScale


def draw_whole_lists(
    sets: Sequence[EvaluationSet], num_lists: int, seed: int
) -> list[tuple[EvaluationSet, Shortlist]]:
    """Draw judged lists that have 100 documents, up to so many of each set.

    Raises:
        CalibrationError: there is none.
    """
    drawn = []
    for found in sets:
        long = [
            x
            for x in found.lists
            if found.qrels.get(x.query_id) and len(x.documents) >= NUM_DOCUMENTS
        ]
        chosen = random.Random(f"{seed} {found.name}").sample(long, min(num_lists, len(long)))
        drawn += [(found, each) for each in chosen]
    if not drawn:
        raise CalibrationError(
            f"no list with judgements has {NUM_DOCUMENTS} documents, which --invariance needs"
        )
    return drawn


def measure_invariance(
    rank: Rank,
    drawn: Sequence[tuple[EvaluationSet, Shortlist]],
    num_shuffles: int,
    seed: int,
    progress: Progress,
) -> Iterable[ListInvariance]:
    """Yield what is measured of each list.

    What is easy is drawn of the other sets; of other lists, if there is one set.
    """
    for found, each in drawn:
        draw = random.Random(f"{seed} {found.name} {each.query_id}")
        others = [x for other, x in drawn if other.name != found.name]
        easy = _easy(each, others or list(found.lists), draw)
        rng = np.random.default_rng(draw.getrandbits(64))
        grades = found.qrels[each.query_id]
        yield list_invariance(rank, found.name, each, grades, easy, num_shuffles, rng)
        progress(1)


def rank_by(ranker: Ranker) -> Rank:
    """Make what scores lists as they are served, those of one call in one forward pass."""
    calibration = attention_card(ranker.card, "calibrate").calibration
    scale = ScoreScale.of(ranker.card, ranker.max_score)
    assert calibration is not None

    def rank(query: str, lists: Sequence[Sequence[Document]]) -> list[Scored]:
        pending = ranker.start([ranker.encode(query, documents) for documents in lists])
        scored = []
        for row, level in zip(pending.result(), pending.levels(), strict=True):
            logits = scale.logits(row, len(row), level)
            scored.append(
                Scored(
                    (np.array(logits) - calibration.intercept) / calibration.slope,
                    np.array(scale.probabilities(row, logits)),
                    np.array(scale.shares(row)),
                )
            )
        return scored

    return rank


def _easy(own: Shortlist, others: Sequence[Shortlist], draw: random.Random) -> list[Document]:
    is_own = set(own.doc_ids)
    pool = {
        doc_id: document
        for x in others
        for doc_id, document in zip(x.doc_ids, x.documents, strict=True)
        if doc_id not in is_own
    }
    return draw.sample(list(pool.values()), min(NUM_ADDED, len(pool)))
