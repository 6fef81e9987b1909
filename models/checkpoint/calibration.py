"""Turns a share of attention into the chance that a document is relevant, by a card's numbers.

A share says how a document stands beside the others of its list. How much attention the list draws
on the whole, its level, says how the list stands beside other lists; part of it is added back.
"""

import math

from pydantic import BaseModel, Field

TINIEST_SHARE = 2.0**-149  # above 0 in float32; the logarithm of 0 would be no number


class Calibration(BaseModel, extra="forbid", frozen=True):
    """Holds z = slope * (log(n * share) + level_weight * level) + intercept, of which p is the
    sigmoid: n documents are in the list, and the level is the one of kernels/document_scores.py.

    As the slope is above 0, documents of a list stay in the order of their shares.
    """

    slope: float = Field(gt=0, allow_inf_nan=False, description="Of z in the logarithms.")
    intercept: float = Field(allow_inf_nan=False, description="z of an even share at level 0.")
    level_weight: float = Field(
        ge=0,
        le=1,
        description="How much of the list's level is added back: 0 compares documents of one list "
        "only, 1 does not care what else is in it.",
    )
    any_relevant_from: float = Field(
        ge=0,
        le=1,
        description="A list whose best p is at least this is said to hold something relevant.",
    )
    fitted_on: tuple[str, ...] = Field(description="Sets of judged lists.")
    num_lists: int = Field(gt=0, description="Lists that were drawn from them.")
    ece: float = Field(
        ge=0, le=1, description="Calibration error on each set, fitted on the others; their mean."
    )
    auroc: float = Field(
        ge=0, le=1, description="How well the best p tells lists with an answer from those without."
    )

    def logit(self, share: float, num_documents: int, level: float) -> float:
        """Compute z of a document.

        Args:
            share: of the list's attention, 0 to 1.
            num_documents: counts the list's documents.
            level: that of the list.
        """
        log_share = math.log(max(share, TINIEST_SHARE) * max(num_documents, 1))
        return self.slope * (log_share + self.level_weight * level) + self.intercept


def probability(logit: float) -> float:
    """Return the sigmoid."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    odds = math.exp(max(logit, -700.0))  # exp of less is 0, or refused
    return odds / (1 + odds)
