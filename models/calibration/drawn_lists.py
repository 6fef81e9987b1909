"""Draws lists of many sizes from judged lists, some of them without what is relevant."""

import math
import random
from dataclasses import dataclass

from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.evaluation.sets import EvaluationSet

MIN_DOCUMENTS, MAX_DOCUMENTS = 5, 100
# Of so many lists one loses its relevant documents.
_ONE_WITHOUT_IN = 3

Labels = tuple[bool | None, ...]
"""Of each document whether it is relevant; None if nobody judged it."""


@dataclass(frozen=True, slots=True)
class JudgedList:
    """Holds a list, and what is known of the relevance of its documents."""

    shortlist: Shortlist
    labels: Labels


def draw_lists(found: EvaluationSet, num_lists: int, seed: int) -> list[JudgedList]:
    """Draw lists of 5 to 100 documents, each size as likely as its double.

    Every third is without the relevant documents. The others hold at least one, where the list
    drawn from does. In half of them the others are the first of the list, else any of it: both
    what a search puts together and what it does not mix are seen.

    Args:
        num_lists: may be more than the set holds, whose lists are then drawn from again.
        seed: decides, with the set's name, what is drawn.
    """
    rng = random.Random(f"{seed} {found.name}")
    judged = judged_lists(found)
    rng.shuffle(judged)
    drawn = []
    for i in range(num_lists if judged else 0):
        chosen = _chosen(judged[i % len(judged)], rng, is_without=i % _ONE_WITHOUT_IN == 0)
        if chosen is not None:
            drawn.append(chosen)
    return drawn


def judged_lists(found: EvaluationSet) -> list[JudgedList]:
    """Return every list with a judgement.

    Where a query has documents that were judged not relevant, those without a judgement are
    unknown; where it has none, only relevant ones were noted, and all others are not relevant.
    """
    lists = []
    for each in found.lists:
        if not (grades := found.qrels.get(each.query_id)):
            continue
        default = None if min(grades.values()) <= 0 else 0
        given = [grades.get(doc_id, default) for doc_id in each.doc_ids]
        lists.append(JudgedList(each, tuple(g if g is None else g > 0 for g in given)))
    return lists


def _chosen(judged: JudgedList, rng: random.Random, *, is_without: bool) -> JudgedList | None:
    """Draw one list; None where too little is left."""
    relevant = [i for i, label in enumerate(judged.labels) if label]
    kept = [i for i, label in enumerate(judged.labels) if not (is_without and label)]
    largest = min(MAX_DOCUMENTS, len(kept))
    if largest < MIN_DOCUMENTS:
        return None
    size = round(math.exp(rng.uniform(math.log(MIN_DOCUMENTS), math.log(largest))))
    places = set(kept[:size] if rng.random() < 0.5 else rng.sample(kept, size))
    if not is_without and relevant and not places & set(relevant):
        places.remove(rng.choice(sorted(places)))
        places.add(rng.choice(relevant))
    whole, order = judged.shortlist, sorted(places)
    return JudgedList(
        Shortlist(
            whole.query_id,
            whole.query,
            tuple(whole.doc_ids[i] for i in order),
            tuple(whole.documents[i] for i in order),
            (),
        ),
        tuple(judged.labels[i] for i in order),
    )
