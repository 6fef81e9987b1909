"""Turns the raw scores of a list into the numbers that callers see."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from blockrank_server.models.checkpoint.any_card import AnyCard
from blockrank_server.models.checkpoint.calibration import Calibration, probability
from blockrank_server.models.checkpoint.card import Card

if TYPE_CHECKING:
    from blockrank_server.models.engine.pending_scores import PendingScores

# A probability that float32 rounds to 0 or 1 has no logit.
_LEAST = 1e-12
ScoreType = Literal["probability", "logit", "share", "raw"]


@dataclass(frozen=True, slots=True)
class ScoreScale:
    """Holds what a model's scores are shown by.

    Args:
        calibration: the card's; None where it has none, and scores stay shares.
        max_score: the raw score whose share is 1.
        is_probability: says that raw scores are probabilities, of each document alone.
    """

    calibration: Calibration | None
    max_score: float
    is_probability: bool = False

    @classmethod
    def of(cls, card: AnyCard, max_score: float) -> Self:
        """Make that of a card: only attention is shared by the documents of a list."""
        if isinstance(card, Card):
            return cls(card.calibration, max_score)
        return cls(None, max_score, is_probability=True)

    @property
    def types(self) -> tuple[ScoreType, ScoreType]:
        """Return what a score is unless something else is asked for, and what a raw one is."""
        is_absolute = self.is_probability or self.calibration is not None
        return ("probability", "logit") if is_absolute else ("share", "raw")

    @property
    def allowed(self) -> tuple[ScoreType, ...]:
        """Return all that can be asked for by name."""
        if self.is_probability:
            return "probability", "logit"
        return ("share",) if self.calibration is None else ("probability", "logit", "share")

    def shares(self, scores: Sequence[float]) -> list[float]:
        """Divide raw scores by the largest one there can be."""
        largest = self.max_score
        return [s / largest if 0 < s < largest else float(s > 0) for s in scores]

    def logits(self, scores: Sequence[float], num_documents: int, level: float) -> list[float]:
        """Compute the logits of documents of one list, which decide their order.

        Shares that are equal to the last digit shown give equal logits.

        Args:
            scores: raw ones.
            num_documents: counts what the model saw, which may be fewer than are scored.
            level: that of the list.
        """
        assert self.calibration is not None
        shown = (float(f"{share:.8g}") for share in self.shares(scores))
        return [self.calibration.logit(share, num_documents, level) for share in shown]

    def numbers(
        self, scores: Sequence[float], num_documents: int, level: float, score_type: ScoreType
    ) -> list[float]:
        """Compute what a caller sees. A raw score of 0 has the probability 0."""
        if score_type == "raw" or (self.is_probability and score_type == "probability"):
            return list(scores)
        if self.is_probability:
            return list(map(_logit, scores))
        if score_type == "share":
            return self.shares(scores)
        logits = self.logits(scores, num_documents, level)
        return logits if score_type == "logit" else self.probabilities(scores, logits)

    def probabilities(self, scores: Sequence[float], logits: Sequence[float]) -> list[float]:
        """Compute the probabilities of raw scores with these logits; that of a score of 0 is 0."""
        return [
            probability(z) if score > 0 else 0.0 for z, score in zip(logits, scores, strict=True)
        ]

    def served(self, pending: "PendingScores") -> list[list[float]]:
        """Wait for a batch; give probabilities where there is a calibration, else raw scores."""
        rows = pending.result()
        if self.calibration is None:
            return rows
        lists = zip(rows, pending.levels(), strict=True)
        return [self.numbers(row, len(row), level, "probability") for row, level in lists]


def _logit(score: float) -> float:
    kept = min(max(score, _LEAST), 1 - _LEAST)
    return math.log(kept / (1 - kept))
