"""Says which word of the query each signal token is of.

Axes: r = signal tokens of a request.
"""

import re
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

# Scripts that write no space between words: each character is a word.
_ALONE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


@dataclass(frozen=True, slots=True, eq=False)
class QueryWords:
    """Holds the words of a query, as far as signal tokens stand for them.

    Attributes:
        spans: where each starts and stops in the query, in characters.
        groups: [r] int64, the word of each signal token; the number of words for those that stand
            for the prompt around the query.
    """

    spans: tuple[tuple[int, int], ...]
    groups: NDArray[np.int64]

    @property
    def num_groups(self) -> int:
        """Count the words, and the prompt around them as one where a signal token is of it."""
        return int(self.groups.max()) + 1

    @classmethod
    def of(cls, query: str, characters_r2: NDArray[np.int32]) -> Self:
        """Put together the tokens between which there is no white space.

        Args:
            query: the text that the tokens are of.
            characters_r2: where each signal token starts and stops in it; -1 for the prompt's own.
        """
        spans: list[tuple[int, int]] = []
        groups = []
        for start, stop in characters_r2.tolist():
            if start < 0:
                groups.append(-1)
                continue
            end = start + len(query[start:stop].rstrip())
            if end == start:  # white space is the word's before it
                pass
            elif spans and not _is_new_word(query, spans[-1], start):
                spans[-1] = spans[-1][0], max(spans[-1][1], end)
            else:
                spans.append((start, end))
            groups.append(max(len(spans) - 1, 0))
        found = np.array(groups, np.int64)
        return cls(tuple(spans), np.where(found < 0, len(spans), found))


def _is_new_word(query: str, word: tuple[int, int], start: int) -> bool:
    """Say whether a token that starts here is of another word than the tokens before it."""
    first, stop = word
    if first <= start < stop:  # a part of the same character
        return False
    return (
        any(map(str.isspace, query[stop:start]))
        or _ALONE.match(query, start) is not None
        or _ALONE.match(query, stop - 1) is not None
    )
