"""Reads a score from the log-probabilities of the two words of a verdict."""

import math


def score_of(yes_logprob: float, no_logprob: float) -> float:
    """Return p(yes) / (p(yes) + p(no)), which no distance between the two overflows."""
    log_odds = yes_logprob - no_logprob
    if log_odds < 0:
        odds = math.exp(log_odds)
        return odds / (1 + odds)
    return 1 / (1 + math.exp(-log_odds))
