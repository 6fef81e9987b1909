"""Measures what a document's score owes to the rest of its list: its size, its company, its order.

Axes: N = documents of a list, D = documents that two lists have in common.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockrank_server.models.calibration.fit import Array
from blockrank_server.models.data.shortlists import Document, Shortlist
from blockrank_server.models.evaluation.measures import measure, parse_measures

NUM_DOCUMENTS, NUM_FEW, NUM_ADDED = 100, 20, 10
SIZES_AT_RANDOM, SIZES_IN_A_ROW = (50, 25, 20, 10, 5), (25, 10, 5)
_NDCG = "nDCG@10"

Indices = NDArray[np.int64]


class Scored(NamedTuple):
    """Holds what is known of the documents of one list, [N] each.

    Attributes:
        scores: log(n * share) + level_weight * level, of which the calibration makes a logit.
    """

    scores: Array
    probabilities: Array
    shares: Array

    def of(self, indices: Sequence[int] | Indices) -> "Scored":
        """Take some of the documents, in this order."""
        return Scored(*(values[np.asarray(indices, np.int64)] for values in self))


Rank = Callable[[str, Sequence[Sequence[Document]]], Sequence[Scored]]
"""Scores some lists of one query."""


class Shift(NamedTuple):
    """Holds by how much the numbers of documents change with the rest of their list, [D] each."""

    scores: Array
    probabilities: Array

    @classmethod
    def between(cls, before: Scored, after: Scored) -> "Shift":
        return cls(after.scores - before.scores, after.probabilities - before.probabilities)


class Loss(NamedTuple):
    """Holds nDCG@10 of a list as a whole, less that of its parts, merged by one number or other."""

    by_score: float
    by_share: float


class Shuffles(NamedTuple):
    """Tells what shuffling a list has changed.

    Attributes:
        has_one_order: whether its documents came out in one order every time.
        largest_change: the largest change of a probability.
    """

    has_one_order: bool
    largest_change: float


@dataclass(frozen=True, slots=True)
class ListInvariance:
    """Holds what was measured of one list.

    Attributes:
        group: names the set it is from.
        shifts: by what was changed.
        losses: by how the list was cut.
    """

    group: str
    shifts: Mapping[str, Shift]
    losses: Mapping[str, Loss]
    shuffles: Shuffles


def list_invariance(
    rank: Rank,
    group: str,
    shortlist: Shortlist,
    grades: Mapping[str, int],
    easy: Sequence[Document],
    num_shuffles: int,
    rng: np.random.Generator,
) -> ListInvariance:
    """Score a list's first 100 documents once more in every other company.

    Args:
        shortlist: has at least 100 documents.
        grades: the relevance of what was judged for its query, by doc_id.
        easy: ten documents of other subjects.
    """
    query, documents = shortlist.query, shortlist.documents[:NUM_DOCUMENTS]
    [whole] = rank(query, [documents])

    def ndcg(scores: Array) -> float:
        ranking = [shortlist.doc_ids[i] for i in _order(scores)]
        found = measure(parse_measures([_NDCG]), {"q": dict(grades)}, {"q": ranking})
        return found[_NDCG]["q"]

    best = ndcg(whole.scores)
    shifts, losses = {}, {}
    for name, parts in cuts(NUM_DOCUMENTS, rng).items():
        joined = rank_parts(rank, query, documents, parts)
        shifts[name] = Shift.between(whole, joined)
        losses[name] = Loss(best - ndcg(joined.scores), best - ndcg(joined.shares))
    few = documents[:NUM_FEW]
    shifts |= company_shifts(rank, query, few, easy, rng)
    return ListInvariance(
        group, shifts, losses, shuffle_changes(rank, query, few, num_shuffles, rng)
    )


def cuts(num_documents: int, rng: np.random.Generator) -> dict[str, list[Indices]]:
    """Cut a list into parts of one size: drawn at random, or in a row as a client does it."""
    random, in_a_row = rng.permutation(num_documents), np.arange(num_documents)
    ways = (("at random", random, SIZES_AT_RANDOM), ("in a row", in_a_row, SIZES_IN_A_ROW))
    return {
        f"{num_documents // size} x {size} {way}": np.split(order, num_documents // size)
        for way, order, sizes in ways
        for size in sizes
    }


def rank_parts(
    rank: Rank, query: str, documents: Sequence[Document], parts: Sequence[Indices]
) -> Scored:
    """Score each part as a list of its own, and put the numbers in the documents' order."""
    rows = rank(query, [[documents[i] for i in part] for part in parts])
    together = Scored(*map(np.concatenate, zip(*rows, strict=True)))
    return together.of(np.argsort(np.concatenate(parts)))


def company_shifts(
    rank: Rank,
    query: str,
    documents: Sequence[Document],
    easy: Sequence[Document],
    rng: np.random.Generator,
) -> dict[str, Shift]:
    """Take the best document away, or add others; measure the documents that stay."""
    [before] = rank(query, [documents])
    num = len(documents)
    best = int(_order(before.scores)[0])
    other = int(rng.choice([i for i in range(num) if i != best]))
    rest, everything = [i for i in range(num) if i != best], list(range(num))
    changed = {
        "without the best": (rest, []),
        f"{NUM_ADDED} copies of the best added": (everything, [documents[best]] * NUM_ADDED),
        f"{NUM_ADDED} copies of another added": (everything, [documents[other]] * NUM_ADDED),
        f"{len(easy)} easy ones added": (everything, list(easy)),
    }
    rows = rank(query, [[documents[i] for i in kept] + added for kept, added in changed.values()])
    return {
        f"{num} documents, {name}": Shift.between(before.of(kept), row.of(range(len(kept))))
        for (name, (kept, _)), row in zip(changed.items(), rows, strict=True)
    }


def shuffle_changes(
    rank: Rank,
    query: str,
    documents: Sequence[Document],
    num_shuffles: int,
    rng: np.random.Generator,
) -> Shuffles:
    """Score a list in many orders, each by a call of its own.

    Equal documents may change places: nobody sees it.
    """
    [before] = rank(query, [documents])
    best_first = [documents[i] for i in _order(before.scores)]
    has_one_order, largest = True, 0.0
    for _ in range(num_shuffles):
        order = rng.permutation(len(documents))
        given = [documents[i] for i in order]
        [after] = rank(query, [given])
        has_one_order &= [given[i] for i in _order(after.scores)] == best_first
        changes = np.abs(after.probabilities - before.probabilities[order])
        largest = max(largest, float(changes.max()))
    return Shuffles(has_one_order, largest)


def _order(scores: Array) -> Indices:
    """Return the indices as they are served: best first, equal ones as given."""
    return np.argsort(-scores, kind="stable")
