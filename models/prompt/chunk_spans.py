"""Cuts a text into chunks at the ends of sentences, each beginning with the end of the one before.

A chunk holds as many sentences as fit. Its last sentence is the next chunk's first, too, unless it
takes more than half of a chunk: so what belongs together is seldom torn apart. A sentence that fits
no chunk is cut between words, and a word that fits none between tokens.

Axes: T = tokens of the text.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from blockrank_server.models.prompt.document_parts import Span
from blockrank_server.models.prompt.sentences import first_character, sentence_spans

# What fits no chunk is cut into parts of a quarter of one, so that the last can be repeated, too.
_PARTS_PER_CHUNK = 4
# A tokeniser's account of a text takes a hundred times its memory.
_SLICE_CHARACTERS = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class TokenEdges:
    """Holds [T] int64 arrays: the character at which each token starts, and at which it stops."""

    starts_T: NDArray[np.int64]
    stops_T: NDArray[np.int64]

    @classmethod
    def read(
        cls, text: str, encode: Callable[[str], Encoding], max_tokens: int
    ) -> tuple[Self, int]:
        """Tokenise a text, slice by slice, until there are more than max_tokens.

        A token may be two where a slice ends.

        Args:
            encode: the tokenizer's.

        Returns:
            The tokens, and how many characters were read.
        """
        found: list[NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
        num_tokens, num_read = 0, 0
        while num_read < len(text) and num_tokens <= max_tokens:
            piece = text[num_read : num_read + _SLICE_CHARACTERS]
            offsets_T2 = np.array(encode(piece).offsets, np.int64).reshape(-1, 2)
            found.append(offsets_T2 + num_read)
            num_tokens += len(offsets_T2)
            num_read += len(piece)
        starts_T, stops_T = np.concatenate(found).T
        # Contiguous: they are searched many times.
        return cls(starts_T.copy(), stops_T.copy()), num_read

    def first(self, character: int) -> int:
        """Find the first token that holds a character or stands behind it."""
        return int(np.searchsorted(self.stops_T, character, side="right"))

    def counts(self, spans: Sequence[Span]) -> NDArray[np.int64]:
        """Count the tokens of spans one after another, those up to the next being its own."""
        firsts = np.searchsorted(self.stops_T, [start for start, _ in spans], side="right")
        return np.diff(np.append(firsts, len(self.stops_T)))


def chunk_spans(text: str, tokens: TokenEdges, max_tokens: int) -> list[Span]:
    """Find where chunks start and stop, in characters, without the white space around them.

    Together they hold every character of the text that is not white space.

    Args:
        tokens: those of the text.
        max_tokens: of a chunk, as they are counted in the whole text; at least 1.
    """
    units = list(_units(text, tokens, max_tokens))
    counts = tokens.counts(units)
    edges = np.append(0, counts.cumsum())
    spans, first = [], 0
    while first < len(units):
        last = int(np.searchsorted(edges, edges[first] + max_tokens, side="right")) - 1
        last = max(last, first + 1)
        spans.append((units[first][0], units[last - 1][1]))
        if last == len(units):
            break
        repeated, following = counts[last - 1 : last + 1]
        can_repeat = 2 * repeated <= max_tokens and repeated + following <= max_tokens
        first = last - int(can_repeat and last - first > 1)
    return spans


def _units(text: str, tokens: TokenEdges, max_tokens: int) -> Iterator[Span]:
    """Yield sentences, and parts of those that fit no chunk."""
    sentences = sentence_spans(text, len(text) + 1)
    for span, num_tokens in zip(sentences, tokens.counts(sentences), strict=True):
        if num_tokens <= max_tokens:
            yield span
        else:
            yield from _parts(text, span, tokens, max(1, max_tokens // _PARTS_PER_CHUNK))


def _parts(text: str, sentence: Span, tokens: TokenEdges, max_tokens: int) -> Iterator[Span]:
    start, stop = sentence
    while start < stop:
        over = tokens.first(start) + max_tokens
        end = int(tokens.starts_T[over]) if over < len(tokens.starts_T) else stop
        end = min(max(end, start + 1), stop)  # a character may be several tokens
        if end < stop:
            end = _word_end(text, start, end)
        yield start, start + len(text[start:end].rstrip())
        start = first_character(text, end)


def _word_end(text: str, start: int, end: int) -> int:
    """Return the last end of a word up to end, or end where there is none."""
    found = end
    while found > start and not (text[found].isspace() or text[found - 1].isspace()):
        found -= 1
    return found if found > start else end
