"""Names keys behind the tokens of a batch: rows that tails see besides tokens side by side."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.segments import Span
from blockrank_server.models.document_cache.kept import Kept

# Spans behind the tokens are counted from here until it is known how many tokens there are.
_BEHIND = 1 << 40


class NamedKeys:
    """Lists the keys behind the tokens of a batch, in the order in which they are named.

    Attributes:
        kept: what is named of batches before, in the order of its rows, which come after those of
            the tokens.
    """

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self._spans: dict[object, Span] = {}
        self._stop = _BEHIND

        self._rows: list[NDArray[np.int32] | Kept] = []

    def tokens(self, key: object, tokens: NDArray[np.int32]) -> Span:
        """Name tokens of the batch, or find where those with this key are named already."""
        return self._name(key, tokens, len(tokens))

    def document(self, kept: Kept) -> tuple[Span, Span]:
        """Name the rows of what is kept; return the span of all, and that of the scored ones."""
        start, stop = self._name(kept, kept, kept.num_rows)
        return (start, stop), (start + kept.scored[0], start + kept.scored[1])

    def key_rows(self, num_tokens: int) -> KeyRows | None:
        """Make the table of tokens and named keys; None where nothing is named."""
        if not self._rows:
            return None
        rows, num_rows = [np.arange(num_tokens, dtype=np.int32)], num_tokens
        for each in self._rows:
            if isinstance(each, Kept):
                rows.append(np.arange(num_rows, num_rows + each.num_rows, dtype=np.int32))
                num_rows += each.num_rows
            else:
                rows.append(each)
        return KeyRows(num_tokens, np.concatenate(rows))

    def _name(self, key: object, rows: NDArray[np.int32] | Kept, num_rows: int) -> Span:
        if key not in self._spans:
            self._spans[key] = self._stop, self._stop + num_rows
            self._stop += num_rows
            self._rows.append(rows)
            if isinstance(rows, Kept):
                self.kept.append(rows)
        return self._spans[key]


def placer(num_tokens: int) -> Callable[[Span], Span]:
    """Make what moves named spans behind so many tokens, and leaves those of tokens alone."""

    def placed(span: Span) -> Span:
        shift = num_tokens - _BEHIND if span[0] >= _BEHIND else 0
        return span[0] + shift, span[1] + shift

    return placed


def joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Merge neighbours among ascending spans; a span given twice stays twice."""
    joined = [spans[0]]
    for start, stop in spans[1:]:
        if start == joined[-1][1]:
            joined[-1] = joined[-1][0], stop
        else:
            joined.append((start, stop))
    return tuple(joined)
