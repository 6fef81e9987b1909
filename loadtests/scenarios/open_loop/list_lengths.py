"""Draws how many documents a request has, from a distribution like `10:0.5,20:0.3,100:0.2`."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

_FORM = "COUNT:SHARE[,COUNT:SHARE...], for example 10:0.5,20:0.3,100:0.2"
MAX_DOCUMENTS = 1000
# Shares typed by hand, such as 0.33,0.33,0.34.
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class ListLengths:
    """Holds a distribution of document counts.

    Attributes:
        shares: count and probability; counts ascend, probabilities sum to 1.
    """

    shares: tuple[tuple[int, float], ...]

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(count for count, _ in self.shares)

    @property
    def mean(self) -> float:
        """Return the documents of a request on average."""
        return sum(count * share for count, share in self.shares)

    def draw(self, rng: random.Random) -> int:
        counts, shares = zip(*self.shares, strict=True)
        return int(rng.choices(counts, shares)[0])

    def in_proportion(self) -> Iterator[int]:
        """Yield document counts without end, whose shares are those asked for from early on."""
        given = dict.fromkeys(self.counts, 0)
        for number in itertools.count(1):
            lacking = {count: share * number - given[count] for count, share in self.shares}
            chosen = max(lacking, key=lacking.__getitem__)
            given[chosen] += 1
            yield chosen

    def __str__(self) -> str:
        return ",".join(f"{count}:{share:g}" for count, share in self.shares)


def parse_list_lengths(text: str) -> ListLengths:
    """Reads `COUNT:SHARE,...`.

    Raises:
        ValueError: not of that form; a count twice or out of range; shares that do not sum to 1.
    """
    shares: dict[int, float] = {}
    for part in text.split(","):
        count, share = _pair(part)
        if count in shares:
            raise ValueError(f"document count {count} is there twice in {text!r}")
        shares[count] = share
    total = sum(shares.values())
    if abs(total - 1) > _TOLERANCE:
        raise ValueError(f"shares of {text!r} sum to {total:g}, not to 1")
    return ListLengths(tuple(sorted(shares.items())))


def _pair(part: str) -> tuple[int, float]:
    count_text, _, share_text = part.partition(":")
    try:
        count, share = int(count_text), float(share_text)
    except ValueError:
        raise ValueError(f"{part!r} is not of the form {_FORM}") from None
    if not 1 <= count <= MAX_DOCUMENTS:
        raise ValueError(f"document count {count} is not within 1 .. {MAX_DOCUMENTS}")
    if not 0 < share <= 1:
        raise ValueError(f"share {share_text} of document count {count} is not within (0, 1]")
    return count, share
