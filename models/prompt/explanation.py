"""Tells where in a document its score comes from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from blockrank_server.models.prompt.document_parts import FRAME, TITLE, DocumentParts, Span
from blockrank_server.models.prompt.query_words import QueryWords
from blockrank_server.models.prompt.request import EncodedRequest


class PartShare(NamedTuple):
    """Holds one part: characters start .. end of the caller's string, and its share."""

    start: int
    end: int
    share: float


class WordShare(NamedTuple):
    """Tells where in a document a word of the query looked.

    Attributes:
        span: where it stands in the query; None for the words of the prompt around the query, where
            a card reads their attention, too.
        share: what it gives to the document's score; those of all words sum to 1. Where the card
            takes the arithmetic mean over the query, a word has more the more of its attention is
            on this document; where it takes the geometric mean, every token of the query has the
            same, whatever else it looks at, and only where in the document it looks is its own.
        tokens: how much of it fell on each token of the text, as Explanation.tokens has them.
        title: how much of it fell on the title.
        frame: how much of it fell on the card's own words around the document.
    """

    span: Span | None
    share: float
    tokens: tuple[float, ...]
    title: float
    frame: float


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
        tokens: those of the text, where they were asked for; start and end as those of sentences,
            to which they add up. One has no share whose keys the query does not see.
        words: those of the query, where they were asked for.
    """

    sentences: tuple[PartShare, ...]
    title: PartShare | None
    frame: float
    best: int | None
    truncated_at: int | None
    tokens: tuple[PartShare, ...] = ()
    words: tuple[WordShare, ...] = ()

    @classmethod
    def of(
        cls, parts: DocumentParts, shares_WM: NDArray[np.float64], words: QueryWords | None
    ) -> Self:
        """Add up the shares of what belongs together.

        Args:
            shares_WM: those of the document's parts, for each group of words.
            words: of the query, where they and tokens are told apart.
        """
        shares_M, num = shares_WM.sum(0), len(parts.sentences)
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
            tokens=_tokens(parts, shares_M) if words is not None else (),
            words=_words(parts, shares_WM, words) if words is not None else (),
        )

    def of_chunk(self, start: int, truncated_at: int | None) -> Self:
        """Return the same of a chunk with the offsets of its document's text.

        Args:
            start: that of the chunk.
            truncated_at: the first character of the text that is in no chunk.
        """
        sentences, tokens = (
            tuple(PartShare(a + start, b + start, share) for a, b, share in parts)
            for parts in (self.sentences, self.tokens)
        )
        return replace(self, sentences=sentences, tokens=tokens, truncated_at=truncated_at)


def _tokens(parts: DocumentParts, shares_M: NDArray[np.float64]) -> tuple[PartShare, ...]:
    is_text_M = parts.kinds >= 0
    (starts, stops), shares = parts.characters[is_text_M].T.tolist(), shares_M[is_text_M].tolist()
    return tuple(map(PartShare, starts, stops, shares))


def _words(
    parts: DocumentParts, shares_WM: NDArray[np.float64], words: QueryWords
) -> tuple[WordShare, ...]:
    spans: list[Span | None] = [*words.spans, None]
    return tuple(
        WordShare(
            span,
            float(share_M.sum()),
            tuple(share_M[parts.kinds >= 0].tolist()),
            float(share_M[parts.kinds == TITLE].sum()),
            float(share_M[parts.kinds == FRAME].sum()),
        )
        for span, share_M in zip(spans, shares_WM, strict=False)
    )


class ExplainedScore(NamedTuple):
    """Holds a document's score, and where it comes from."""

    score: float
    explanation: Explanation


def explanations(request: EncodedRequest, shares: Sequence[float]) -> list[Explanation]:
    """Explain the scores of a request's documents.

    Args:
        shares: those of all parts, document after document; once for each group of words.
    """
    words = request.words
    shares_WM = np.array(shares, np.float64).reshape(request.num_word_groups, -1)
    found, start = [], 0
    for each in request.parts:
        stop = start + len(each.spans)
        found.append(Explanation.of(each, shares_WM[:, start:stop], words))
        start = stop
    return found
