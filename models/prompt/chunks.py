"""Holds documents that were cut into chunks, and finds the best chunk of each.

A document's score is that of its best chunk. Chunks are blocks of the same list: each takes part
in the softmax over the list, and in its level, as a document of its own does. So the logits of all
chunks compare, and documents are ordered by those of their best. A list of which one document is
cut is another list than before: the shares of all others are smaller, as if more documents had been
sent, and their logits, which count blocks in n * share, move as they do when a list grows. The
shares of the documents sum to less than 1, the rest being that of the other chunks. Where each
document is scored alone, its score depends on its best chunk only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from blockrank_server.models.prompt.document_parts import Span
from blockrank_server.models.prompt.request import Document


class BestChunk(NamedTuple):
    """Holds a document's score, and where in its text the chunk stands that has it."""

    score: float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Chunks:
    """Holds documents, and chunks in place of those that were too long.

    Attributes:
        documents: to be ranked; a chunk has its document's title.
        owners: of each the index of the document that it is of, ascending.
        spans: of each where it starts and stops in that document's text, in characters.
        truncated: index of each document that lost something, and the first character of its text
            that is in no chunk; None where that is its title's end alone.
    """

    documents: tuple[Document, ...]
    owners: tuple[int, ...]
    spans: tuple[Span, ...]
    truncated: Mapping[int, int | None]

    def best(self, scores: Sequence[float]) -> list[BestChunk]:
        """Return the score of each document, of the scores of all chunks."""
        found = best_blocks(self.owners, scores)
        return [BestChunk(scores[block], *self.spans[block]) for block in found.values()]


def best_blocks(owners: Sequence[int], scores: Sequence[float]) -> dict[int, int]:
    """Map each owner to its place with the largest score, the first of equal ones."""
    best: dict[int, int] = {}
    for place, owner in enumerate(owners):
        if owner not in best or scores[place] > scores[best[owner]]:
            best[owner] = place
    return best
