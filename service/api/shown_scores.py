"""Turns the model's scores into what a request asks for: probabilities, logits or shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from blockrank_server.models.score_scale import ScoreScale, ScoreType
from blockrank_server.service.dialects.request import Ranked, RerankRequest, rank
from blockrank_server.service.errors import InvalidFieldError

if TYPE_CHECKING:
    from blockrank_server.models.any_ranker import AnyRanker


@dataclass(frozen=True, slots=True)
class ShownScores:
    """Holds the numbers of an answer.

    Attributes:
        score_type: what they are.
        scores: one a document, in the caller's order.
        logits: what orders them, where the card has a calibration; else they order themselves.
        any_relevant: whether the best is one that nine in ten lists with an answer reach; None
            where there is no calibration.
    """

    score_type: ScoreType
    scores: Sequence[float]
    logits: Sequence[float] | None = None
    any_relevant: bool | None = None

    @classmethod
    def of(
        cls,
        request: RerankRequest,
        ranker: "AnyRanker",
        scores: Sequence[float],
        num_seen: int,
        level: float,
    ) -> Self:
        """Make them of raw scores.

        Args:
            num_seen: counts the documents that the model saw.
            level: that of their list.
        """
        scale = _scale(ranker)
        score_type = _score_type(request, scale)
        if scale.calibration is None:
            return cls(score_type, scale.numbers(scores, num_seen, level, score_type))
        logits = scale.logits(scores, num_seen, level)
        probabilities = scale.probabilities(scores, logits)
        computed = {"probability": probabilities, "logit": logits}
        shown = computed[score_type] if score_type in computed else scale.shares(scores)
        is_any_relevant = max(probabilities) >= scale.calibration.any_relevant_from
        return cls(score_type, shown, logits, is_any_relevant)

    def ranking(self, request: RerankRequest) -> list[Ranked]:
        return rank(
            self.scores, order=self.logits, top_n=request.top_n, min_score=request.min_score
        )


def check_scores(request: RerankRequest, ranker: "AnyRanker") -> None:
    """Refuse what this model's scores cannot be.

    Raises:
        InvalidFieldError: naming the field, the limit and the value.
    """
    scale = _scale(ranker)
    if request.score_type not in (None, *scale.allowed):
        raise InvalidFieldError(
            f"score_type is {request.score_type}, and the model "
            + ("scores each document alone" if scale.is_probability else "has no calibration")
            + f": {' and '.join(scale.allowed)} can be had",
            field="score_type",
        )
    limit, score_type = request.min_score, _score_type(request, scale)
    if limit is not None and score_type in ("probability", "share") and not 0 <= limit <= 1:
        raise InvalidFieldError(
            f"min_score is {limit:g}, 0 to 1 is allowed where scores are of the type {score_type}",
            field="min_score",
        )


def _scale(ranker: "AnyRanker") -> ScoreScale:
    return ScoreScale.of(ranker.card, ranker.max_score)


def _score_type(request: RerankRequest, scale: ScoreScale) -> ScoreType:
    return request.score_type or scale.types[request.raw_scores]
