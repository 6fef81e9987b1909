"""Which list comes when, and which of its documents: a function of the seed alone.

Neither the number of processes nor a restart changes it: the g-th list of a run is the same.
"""

import random
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from blockrank_server.models.data.training_list import TrainingList
from blockrank_server.models.training.data_config import Draw

# Held-out lists stand in blocks: neighbours in a file often share documents.
_BLOCK = 10


class ListOrder:
    """Orders the lists over all epochs.

    It is an order of groups of lists_together neighbours. Every source gives its share of an
    epoch. It goes through its own groups in a new random order each time it has given them all;
    the epoch mixes the sources' shares at random.

    Args:
        sizes: how many lists each source has.
        shares: how many lists each source gives to an epoch.
        seed: decides every order.
        lists_together: how many neighbours make a group; it divides sizes and shares.

    Attributes:
        lists_per_epoch: the sum of the shares.
    """

    def __init__(
        self, sizes: Sequence[int], shares: Sequence[int], seed: int, *, lists_together: int = 1
    ) -> None:
        self._together = lists_together
        self._sizes = [size // lists_together for size in sizes]
        self._shares = [share // lists_together for share in shares]
        self._seed = seed
        self._starts = [0, *accumulate(self._shares)]
        self.lists_per_epoch = sum(shares)
        # Neighbours in a run need the same few orders.
        self._shuffled = lru_cache(maxsize=4 * len(sizes) + 4)(self._shuffle)

    def at(self, position: int) -> tuple[int, int]:
        """Return the source, and its list, that stand at a position of the run, from 0."""
        group, member = divmod(position, self._together)
        epoch, place = divmod(group, self._starts[-1])
        slot = self._shuffled(f"epoch {epoch}", self._starts[-1])[place]
        source = max(i for i, start in enumerate(self._starts[:-1]) if start <= slot)
        given = epoch * self._shares[source] + slot - self._starts[source]
        cycle, place = divmod(given, self._sizes[source])
        group = self._shuffled(f"source {source} {cycle}", self._sizes[source])[place]
        return source, group * self._together + member

    def _shuffle(self, name: str, size: int) -> list[int]:
        order = list(range(size))
        random.Random(f"{self._seed} {name}").shuffle(order)
        return order


def held_out(num_lists: int, num_held_out: int) -> list[int]:
    """Choose evenly spaced blocks of neighbours; return their places, ascending."""
    wanted = min(num_held_out, num_lists)
    num_blocks = -(-wanted // _BLOCK)
    starts = [i * num_lists // num_blocks for i in range(num_blocks)]
    spread = [start + j for j in range(_BLOCK) for start in starts if start + j < num_lists]
    return sorted(list(dict.fromkeys(spread))[:wanted])


def choose_documents(found: TrainingList, draw: Draw, rng: random.Random) -> list[int]:
    """Choose the documents to train on; return their indices in the order they are shown in.

    The relevant ones are in, up to draw.max_positives and so that one negative has room, or none of
    them with the probability draw.unanswerable; the others are drawn from the list's first
    negatives, and the positions are shuffled.
    """
    num_documents = rng.randint(draw.least, draw.most)
    positive = [r >= draw.min_relevance for r in found.relevance]
    positives = [i for i, is_positive in enumerate(positive) if is_positive]
    negatives = [i for i, is_positive in enumerate(positive) if not is_positive]
    room = min(num_documents - 1, draw.max_positives or num_documents)
    # No number is drawn where none is asked for: what was drawn of a seed before stays so.
    if draw.unanswerable and rng.random() < draw.unanswerable:
        room = 0
    chosen = rng.sample(positives, min(room, len(positives)))
    pool = negatives[: draw.negatives_from_first]
    chosen += rng.sample(pool, min(num_documents - len(chosen), len(pool)))
    rng.shuffle(chosen)
    return chosen


def as_typed(query: str) -> str:
    """Write a query as people type it: in lower case, without punctuation at its end."""
    return query.lower().rstrip(" ?.!:;,") or query
