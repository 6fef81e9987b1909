"""Says which part of a document each of its scored tokens stands for: a sentence, title, template.

Offsets are characters (code points) of the text and of the title as the caller gave them.

Axes: T = scored tokens of a document, M = its parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from blockrank_server.models.errors import InputTooLongError
from blockrank_server.models.prompt.sentences import sentence_spans

Span = tuple[int, int]

MAX_EXPLAINED_DOCUMENTS = 100
"""Documents of one request whose scores can be explained; a chunk counts as one."""
MAX_SENTENCES = 64
"""Sentences of one document; the last of so many holds all the rest."""

# What a part is, where it is not the sentence of that number.
TITLE, FRAME = -1, -2


@dataclass(frozen=True, slots=True, eq=False)
class DocumentParts:
    """Holds the parts of one document.

    Attributes:
        spans: [M, 2] int32, the tokens of each part, counted from the first scored one; together
            they are all scored tokens.
        kinds: [M] int32: the sentence that a part belongs to, or TITLE, or FRAME, the words that
            the card's template puts around a document.
        sentences: where each starts and stops in the text, as far as the text is seen.
        title: where the title that is seen starts and stops; None without one.
        truncated_at: the first character of the text that was cut off; None if nothing was.
    """

    spans: NDArray[np.int32]
    kinds: NDArray[np.int32]
    sentences: tuple[Span, ...]
    title: Span | None
    truncated_at: int | None

    @classmethod
    def of(
        cls,
        text: str,
        spans: Sequence[tuple[str, int, int]],
        characters_T2: NDArray[np.int32],
        *,
        is_cut: bool,
    ) -> Self:
        """Find the parts of a document.

        Args:
            text: of the document as the caller gave it.
            spans: where its "title" and "text" stand in its content.
            characters_T2: of each scored token, the first character of the content that it stands
                for, and the one after the last; -1 for the template's own.
            is_cut: whether tokens were cut off behind those.
        """
        first_T, stop_T = characters_T2.T
        kind_T = np.full(len(first_T), FRAME, np.int32)
        seen = {"title": 0, "text": 0}
        places = {"title": np.full_like(kind_T, -1), "text": np.full_like(kind_T, -1)}
        for name, start, stop in spans:
            # A template may have a value twice.
            inside_T = (first_T >= max(start, 0)) & (first_T < stop)
            places[name][inside_T] = first_T[inside_T] - start
            last = int(stop_T[inside_T].max(initial=start)) if is_cut else stop
            seen[name] = max(seen[name], min(last, stop) - start)
        sentences = sentence_spans(text[: seen["text"]], MAX_SENTENCES)
        kind_T[places["title"] >= 0] = TITLE
        if sentences:
            ends = np.array([stop for _, stop in sentences])
            is_text_T = places["text"] >= 0
            # White space before a sentence is its own, and after the last one the last one's.
            found = np.searchsorted(ends, places["text"][is_text_T], side="right")
            kind_T[is_text_T] = found.clip(max=len(sentences) - 1)
        return cls(
            *_runs(kind_T),
            sentences=tuple(sentences),
            title=(0, seen["title"]) if seen["title"] else None,
            truncated_at=seen["text"] if seen["text"] < len(text.rstrip()) else None,
        )


def check_explainable(num_documents: int) -> None:
    """Refuse to explain too many documents.

    Raises:
        InputTooLongError: there are more than MAX_EXPLAINED_DOCUMENTS.
    """
    if num_documents > MAX_EXPLAINED_DOCUMENTS:
        raise InputTooLongError(
            f"explain is for up to {MAX_EXPLAINED_DOCUMENTS} documents, this list holds "
            f"{num_documents} (a chunk is one): ask again with the best of them",
            field="explain",
            limit=MAX_EXPLAINED_DOCUMENTS,
            value=num_documents,
        )


def _runs(kind_T: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the spans of equal neighbours, [M, 2], and what each of them is."""
    changes = np.flatnonzero(np.diff(kind_T)) + 1
    edges = np.concatenate([[0], changes, [len(kind_T)]]).astype(np.int32)
    if not len(kind_T):
        edges = edges[:1]
    return np.stack([edges[:-1], edges[1:]], axis=1), kind_T[edges[:-1]]
