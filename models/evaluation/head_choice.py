"""Finds which heads, or which layer, rank best: by the contrastive QR score.

The QR score of a head is the attention that the query's tokens pay to the relevant documents. Taken
alone it also favours heads that pay much attention to every document, so the contrastive score sets
it against the list: a softmax over the documents' mass, divided by a temperature, and of that the
share of the relevant ones. 1 is perfect; chance is their share of the list.

Axes: H = heads measured, lowest layer first; N = documents of a list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from blockrank_server.models.evaluation.head_masses import HeadMass

Head = tuple[int, int]
"""Layer and head, both from 0."""
Masses = Mapping[str, Sequence[HeadMass]]
"""Lists of each set."""


@dataclass(frozen=True, slots=True)
class JudgedHeads:
    """Tells how well the mean mass of some heads ranks, each set counting the same.

    Attributes:
        reciprocal_rank: the best relevant document's; ties count against it.
        by_set: the reciprocal rank in each set.
    """

    contrastive: float
    reciprocal_rank: float
    by_set: dict[str, float]


class HeadChoice:
    """Chooses on one half of every set's lists; the other half is for the report.

    Args:
        masses: every set needs two lists or more.
        num_heads: every layer has so many.
        layers: the first and the last one to choose from.
        temperature: divides the mass in the contrastive score.
    """

    def __init__(
        self, masses: Masses, num_heads: int, layers: tuple[int, int], temperature: float
    ) -> None:
        self.chosen_on = {name: rows[: len(rows) // 2] for name, rows in masses.items()}
        self.held_out = {name: rows[len(rows) // 2 :] for name, rows in masses.items()}
        self._num_heads = num_heads
        self._layers = range(layers[0], layers[1] + 1)
        self._temperature = temperature

    def ranked(self) -> list[tuple[Head, float]]:
        """Return every head with its contrastive QR score, best first."""
        score_H = np.mean(
            [np.mean([self._each(x) for x in rows], axis=0) for rows in self.chosen_on.values()],
            axis=0,
        )
        heads = [(layer, head) for layer in self._layers for head in range(self._num_heads)]
        return sorted(
            ((head, float(score_H[self._index(head)])) for head in heads), key=lambda x: -x[1]
        )

    def top(self, num_heads: int) -> list[Head]:
        """Return the best heads, each judged alone."""
        return [head for head, _ in self.ranked()[:num_heads]]

    def greedy(self, num_heads: int) -> list[Head]:
        """Add heads one by one, each the one that helps most, while one helps."""
        candidates = [head for head, _ in self.ranked()]
        chosen: list[Head] = []
        best = 0.0
        while len(chosen) < num_heads:
            gains = {
                head: self._contrastive(self.chosen_on, [*chosen, head])
                for head in candidates
                if head not in chosen
            }
            head = max(gains, key=gains.__getitem__)
            if gains[head] <= best:
                break
            best = gains[head]
            chosen.append(head)
        return chosen

    def whole_layer(self) -> list[Head]:
        """Return all heads of the layer whose mean mass is best."""
        layers = [[(layer, head) for head in range(self._num_heads)] for layer in self._layers]
        return max(layers, key=lambda heads: self._contrastive(self.chosen_on, heads))

    def judge(self, masses: Masses, heads: Sequence[Head]) -> JudgedHeads:
        """Measure how well these heads rank these lists together."""
        by_set = {
            name: mean(_reciprocal_rank(self._together(x, heads), x.positive_N) for x in rows)
            for name, rows in masses.items()
        }
        return JudgedHeads(self._contrastive(masses, heads), mean(by_set.values()), by_set)

    def _contrastive(self, masses: Masses, heads: Sequence[Head]) -> float:
        return mean(
            mean(float(self._share(self._together(x, heads), x.positive_N)) for x in rows)
            for rows in masses.values()
        )

    def _each(self, x: HeadMass) -> NDArray[np.float64]:
        """Return [H], the contrastive score of each head."""
        return self._share(x.mass_HN, x.positive_N)

    def _share(
        self, mass: NDArray[np.float32], positive_N: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        logits = mass.astype(np.float64) / self._temperature
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        found: NDArray[np.float64] = weights[..., positive_N].sum(-1) / weights.sum(-1)
        return found

    def _together(self, x: HeadMass, heads: Sequence[Head]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = x.mass_HN[[self._index(head) for head in heads]].mean(0)
        return found

    def _index(self, head: Head) -> int:
        return head[0] * self._num_heads + head[1]


def _reciprocal_rank(mass_N: NDArray[np.float32], positive_N: NDArray[np.bool_]) -> float:
    best = mass_N[positive_N].max()
    return 1.0 / (1 + int((mass_N[~positive_N] >= best).sum()))
