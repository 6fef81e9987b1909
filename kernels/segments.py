"""Says which keys each query token of a packed batch sees: the mask of BlockRank, arXiv:2510.05396.

The mask of one request, a row for each query token, a column for each key; an x is seen:

                  prefix  document 0  document 1  tail
    prefix        x .     . . .       . .         . . .
                  x x     . . .       . .         . . .
    document 0    x x     x . .       . .         . . .
                  x x     x x .       . .         . . .
                  x x     x x x       . .         . . .
    document 1    x x     . . .       x .         . . .
                  x x     . . .       x x         . . .
    tail          x x     x x x       x x         x . .
                  x x     x x x       x x         x x .
    signal token  x x    [x x x]     [x x]        x x x

The prefix holds the instruction, the tail the query. No document sees another, so attention grows
with the number of documents, not with its square, and a document's keys and values are the same in
every list. How much each document matters is read off the last rows: a signal token's attention
inside each pair of brackets is a read span (span_lse.py).

A batch is one ragged token axis without padding. It is covered by segments: runs of query tokens
that share what they see. A token of a segment sees every key of the segment's full spans, and its
own segment up to itself, or all of it where the segment is not causal. That is the whole mask: no
[T, T] tensor exists. Keys are tokens, or what a table (key_rows.py) adds to them.

    prefix      no full span
    document    the prefix
    tail        prefix and documents, in one span where they stand together, in several where
                requests of a batch share documents; of a document it may see every k-th token only
    causal      one segment for the whole request, for rerankers that were trained without the mask
"""

from collections.abc import Sequence
from dataclasses import dataclass

from blockrank_server.kernels.key_rows import KeyRows

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Segment:
    """Holds query tokens start .. stop, and the spans of keys all of them see besides their own.

    Of that a token sees all up to itself if it is causal, otherwise everything (LLM2Vec,
    arXiv:2404.05961).
    """

    start: int
    stop: int
    full: tuple[Span, ...] = ()
    is_causal: bool = True

    @property
    def num_tokens(self) -> int:
        """Count the query tokens."""
        return self.stop - self.start

    @property
    def num_full(self) -> int:
        """Count the keys that every query token sees besides those of its own segment."""
        return sum(stop - start for start, stop in self.full)


def check_segments(
    segments: Sequence[Segment], num_tokens: int, key_rows: KeyRows | None = None
) -> None:
    """Refuse segments that do not cover 0 .. num_tokens exactly once, or see what is no key.

    Raises:
        ValueError: naming the first segment at fault, or the table where it is of other tokens.
    """
    num_keys, kind = num_tokens, "tokens"
    if key_rows is not None:
        num_keys, kind = key_rows.num_keys, "keys"
        if key_rows.num_tokens != num_tokens:
            raise ValueError(f"a table of {key_rows.num_tokens} tokens, expected {num_tokens}")
    expected = 0
    for i, segment in enumerate(segments):
        if segment.start != expected or segment.stop < segment.start:
            raise ValueError(
                f"segment {i} covers {segment.start}..{segment.stop}, expected start {expected}"
            )
        for start, stop in segment.full:
            if not 0 <= start <= stop <= num_keys:
                raise ValueError(f"segment {i} sees {start}..{stop} of {num_keys} {kind}")
        expected = segment.stop
    if expected != num_tokens:
        raise ValueError(f"segments cover {expected} tokens, expected {num_tokens}")
