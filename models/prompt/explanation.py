"""Tells where in a document its score comes from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from blockrank_server.models.prompt.document_parts import FRAME, TITLE, DocumentParts


class PartShare(NamedTuple):
    """Holds one part: characters start .. end of the caller's string, and its share."""

    start: int
    end: int
    share: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Splits a document's score among its parts; their shares sum to 1 (kernels/part_shares.py).

    Attributes:
        sentences: those of the text that the model saw; start and end are characters (code points)
            of the text as it was given.
        title: all of the title that the model saw; None without one.
        frame: the share of the words and control tokens that the card puts around a document.
        best: the sentence with the largest share, the first of equal ones; None without a sentence.
        truncated_at: the first character of the text that was cut off, and has no share; None if
            nothing was.
    """

    sentences: tuple[PartShare, ...]
    title: PartShare | None
    frame: float
    best: int | None
    truncated_at: int | None

    @classmethod
    def of(cls, parts: DocumentParts, shares: Sequence[float]) -> Self:
        """Add up the shares of what belongs together."""
        shares_M, num = np.array(shares, np.float64), len(parts.sentences)
        is_sentence = parts.kinds >= 0
        sums = np.bincount(parts.kinds[is_sentence], shares_M[is_sentence], num)
        sentences = tuple(
            PartShare(*span, float(share))
            for span, share in zip(parts.sentences, sums, strict=True)
        )
        title = None
        if parts.title is not None:
            title = PartShare(*parts.title, float(shares_M[parts.kinds == TITLE].sum()))
        return cls(
            sentences=sentences,
            title=title,
            frame=float(shares_M[parts.kinds == FRAME].sum()),
            best=int(sums.argmax()) if num else None,
            truncated_at=parts.truncated_at,
        )

    def of_chunk(self, start: int, truncated_at: int | None) -> Self:
        """Return the same of a chunk with the offsets of its document's text.

        Args:
            start: that of the chunk.
            truncated_at: the first character of the text that is in no chunk.
        """
        moved = (PartShare(a + start, b + start, share) for a, b, share in self.sentences)
        return replace(self, sentences=tuple(moved), truncated_at=truncated_at)


class ExplainedScore(NamedTuple):
    """Holds a document's score, and where it comes from."""

    score: float
    explanation: Explanation


def explanations(parts: Sequence[DocumentParts], shares: Sequence[float]) -> list[Explanation]:
    """Explain the scores of documents.

    Args:
        shares: those of all parts, document after document.
    """
    found, start = [], 0
    for each in parts:
        stop = start + len(each.spans)
        found.append(Explanation.of(each, shares[start:stop]))
        start = stop
    return found
