"""Says which part of a document each of its scored tokens stands for: a sentence, title, template.

Where it is asked for, every token is a part, too.

Offsets are characters (code points) of the text and of the title as the caller gave them.

Axes: T = scored tokens of a document, M = its parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from blockrank_server.models.errors import InputTooLongError
from blockrank_server.models.prompt.sentences import sentence_spans

Span = tuple[int, int]

MAX_EXPLAINED_DOCUMENTS = 100
"""Documents of one request whose scores can be explained; a chunk counts as one."""
MAX_SENTENCES = 64
"""Sentences of one document; the last of so many holds all the rest."""

MAX_TOKEN_SHARES = 65_536
"""Parts of all documents times signal tokens, where shares are asked for by token and word."""

ExplainOption = bool | Literal["tokens"]
"""Whether scores are explained, by sentence; "tokens" is by token and word of the query, too."""

# What a part is, where it is not the sentence of that number.
TITLE, FRAME = -1, -2


@dataclass(frozen=True, slots=True, eq=False)
class DocumentParts:
    """Holds the parts of one document.

    Attributes:
        spans: [M, 2] int32, the tokens of each part, counted from the first scored one; together
            they are all scored tokens.
        characters: [M, 2] int32, where a part that is a token starts and stops, in the text or in
            the title; -1 for all others.
        kinds: [M] int32: the sentence that a part belongs to, or TITLE, or FRAME, the words that
            the card's template puts around a document.
        sentences: where each starts and stops in the text, as far as the text is seen.
        title: where the title that is seen starts and stops; None without one.
        truncated_at: the first character of the text that was cut off; None if nothing was.
    """

    spans: NDArray[np.int32]
    characters: NDArray[np.int32]
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
        by_token: bool = False,
    ) -> Self:
        """Find the parts of a document.

        Args:
            text: of the document as the caller gave it.
            spans: where its "title" and "text" stand in its content.
            characters_T2: of each scored token, the first character of the content that it stands
                for, and the one after the last; -1 for the template's own.
            is_cut: whether tokens were cut off behind those.
            by_token: makes every token a part; those that share a character are one.
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
            is_text_T = places["text"] >= 0
            # White space before a sentence is its own, and after the last one the last one's.
            found = np.searchsorted([b for _, b in sentences], places["text"][is_text_T], "right")
            kind_T[is_text_T] = found.clip(max=len(sentences) - 1)
        own_T2 = np.full_like(characters_T2, -1)
        for name, is_own_T in (("title", kind_T == TITLE), ("text", kind_T >= 0)):
            ends_T = np.minimum(places[name] + stop_T - first_T, seen[name])
            if by_token:
                own_T2[is_own_T] = np.stack([places[name], ends_T], axis=1)[is_own_T]
        spans_M2 = _runs(np.column_stack([kind_T, own_T2]))
        return cls(
            spans=spans_M2,
            characters=own_T2[spans_M2[:, 0]],
            kinds=kind_T[spans_M2[:, 0]],
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


def check_num_shares(num_parts: int, num_signal_tokens: int) -> None:
    """Refuse to tell too many shares by token and word.

    Raises:
        InputTooLongError: they are more than MAX_TOKEN_SHARES.
    """
    if (value := num_parts * num_signal_tokens) > MAX_TOKEN_SHARES:
        raise InputTooLongError(
            f"explain by tokens is for up to {MAX_TOKEN_SHARES} shares, this list has {value} "
            f"({num_parts} tokens of documents x {num_signal_tokens} of the query): ask again with "
            "the best documents, or explain sentences only",
            field="explain",
            limit=MAX_TOKEN_SHARES,
            value=value,
        )


def _runs(what_TX: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the spans of equal neighbours, [M, 2]."""
    changes = np.flatnonzero(np.diff(what_TX, axis=0).any(1)) + 1
    edges = np.concatenate([[0], changes, [len(what_TX)]]).astype(np.int32)
    if not len(what_TX):
        edges = edges[:1]
    return np.stack([edges[:-1], edges[1:]], axis=1)
