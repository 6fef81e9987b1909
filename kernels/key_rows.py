"""Says in which row of k and v each key stands, where that is not simply its number.

Segments and reads speak of keys by number. Without a table key i is row i, that of token i. With
one there are S keys:

    0 .. T      the T tokens of the batch, in order; of its own segment a token sees these
    T .. S      any rows, seen by every token whose full span or read span holds them: some of the
                batch's tokens again, side by side, or what was computed before

So a choice of tokens is one span of keys, and the rows may lie anywhere.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class KeyRows:
    """Maps keys to rows.

    Attributes:
        num_tokens: T, the tokens of the batch; the first T keys are theirs.
        rows_S: [S] int32, the row of k and v in which each key stands; S is at least T.

    Raises:
        ValueError: there are fewer keys than tokens, or a negative row.
    """

    num_tokens: int
    rows_S: NDArray[np.int32]

    def __post_init__(self) -> None:
        if len(self.rows_S) < self.num_tokens:
            raise ValueError(f"{len(self.rows_S)} rows are given for {self.num_tokens} tokens")
        if (lowest := int(self.rows_S.min(initial=0))) < 0:
            raise ValueError(f"a row must be 0 or more, got {lowest}")

    @property
    def num_keys(self) -> int:
        """Count S."""
        return len(self.rows_S)

    @property
    def num_rows(self) -> int:
        """Count the rows that k and v must have at least."""
        return int(self.rows_S.max(initial=-1)) + 1
