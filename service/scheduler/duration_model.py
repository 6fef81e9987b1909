"""Learns from its batches how long the model takes, and how long it takes at the very least."""

import math
from typing import NamedTuple

# Weight that a batch keeps with every batch after it; ten batches make most of the figure.
_KEPT = 0.9
# A batch that took longer than this many times its prediction counts as one that took just this:
# a machine that stood still (suspended, migrated) for an hour would have callers refused for long
# after. A device that is slower from now on is still learnt, within about ten batches.
_MAX_RATIO = 4.0
# Until it is learnt: on a CPU, 100 documents whose keys and values are known take a fortieth of
# the time.
_KNOWN_RATIO = 1 / 40
_MIN_KNOWN_RATIO, _MAX_KNOWN_RATIO = 1 / 1000, 1.0
# Share of the way to what a batch says of the ratio, if nothing but the ratio is in question.
_RATIO_RATE = 0.2
# Batches of this much more or less known tokens than those before say half as much.
_PLAIN_EXCESS = 0.3


class _Seen(NamedTuple):
    """Holds what was learnt, as one object, since two threads share it.

    Attributes:
        num_computed: tokens computed, those that stand for batches too.
        num_known: tokens whose keys and values were read.
        seconds: that both took.
        known_ratio: how many computed tokens a known one costs.
    """

    num_computed: float = 0.0
    num_known: float = 0.0
    seconds: float = 0.0
    known_ratio: float = _KNOWN_RATIO

    @property
    def num_tokens(self) -> float:
        return self.num_computed + self.known_ratio * self.num_known


class DurationModel:
    """Predicts the duration of a batch from what it costs, counted in tokens to be computed.

    What a batch costs beside its tokens counts as so many tokens more, known from the warm-up. How
    long a token takes is learnt all the time, and so is which part of that a known one takes, whose
    keys and values are only read. Safe to read on one thread while another records.

    The least duration is that at the best speed ever proved. It never rises, so a machine that
    stalls or gets busy has nothing refused by it that was possible before. It may be wrong:

    - A best speed that is too high (the cost of a batch was overrated by a disturbed warm-up)
      refuses too little: what cannot be done is tried while the device is idle, and ends at its
      deadline.
    - One that is too low (the machine was busy during the whole warm-up) refuses too much, until
      the next batch that is faster. Any request that is accepted can be that batch, so a caller who
      sends fewer documents, as the error tells it to, mends it. Where no such request ever comes,
      the refusals last until a restart: a request that is refused proves nothing.
    """

    def __init__(self) -> None:
        self._seen = _Seen()
        self._added = 0.0  # tokens
        self._best_s_per_token = math.inf

    def calibrate(
        self,
        few: tuple[float, float],
        many: tuple[float, float],
        known: tuple[float, float, float] | None = None,
    ) -> None:
        """Learn from batches that nothing disturbed. Before the first prediction.

        Args:
            few: tokens and seconds of a small batch.
            many: tokens and seconds of a larger one.
            known: computed tokens, known tokens and seconds of one whose documents were known.
        """
        more_s = many[1] - few[1]
        if more_s > 0:
            self._added = max(0.0, few[1] * (many[0] - few[0]) / more_s - few[0])
        self.record(*many)
        self.prove(*few)
        self.prove(*many)
        if known is not None:
            num_computed, num_known, seconds = known
            ratio = self._better_ratio(num_computed + self._added, num_known, seconds, 1.0)
            self._seen = self._seen._replace(known_ratio=ratio)

    def cost_tokens(self, num_computed: int, num_known: int) -> int:
        """Count tokens to be computed, and for those that are known what reading them costs."""
        return num_computed + round(self._seen.known_ratio * num_known)

    def record(self, num_computed: float, seconds: float, *, num_known: float = 0.0) -> None:
        """Learn from a batch. Large batches count for more: they tell more about the device.

        Args:
            num_computed: its tokens that were computed.
            num_known: its tokens whose keys and values were known.
        """
        seen = self._seen
        num_computed += self._added
        ratio = self._better_ratio(num_computed, num_known, seconds, _RATIO_RATE)
        if predicted_s := self.predict_marginal_s(num_computed + seen.known_ratio * num_known):
            seconds = min(seconds, _MAX_RATIO * predicted_s)
        self._seen = _Seen(
            _KEPT * seen.num_computed + num_computed,
            _KEPT * seen.num_known + num_known,
            _KEPT * seen.seconds + max(0.0, seconds),
            ratio,
        )

    def prove(self, num_computed_tokens: float, seconds: float) -> None:
        """Learn that so many tokens can be computed within this time.

        Args:
            num_computed_tokens: leaves out those that were not computed twice.
            seconds: from the start of the batch to its end, with whatever it waited for meanwhile:
                longer than it took does no harm, shorter would never be forgotten.
        """
        if seconds > 0:  # else the clock has jumped
            best_s = seconds / (num_computed_tokens + self._added)
            self._best_s_per_token = min(self._best_s_per_token, best_s)

    def predict_s(self, num_tokens: float) -> float:
        """Predict the duration of a batch; 0 before the first one, and for no tokens.

        Args:
            num_tokens: what it costs, as cost_tokens counts it; here and below.
        """
        return self.predict_marginal_s(num_tokens + self._added) if num_tokens else 0.0

    def predict_least_s(self, num_computed_tokens: float) -> float:
        """Predict the duration of a batch at the best speed proved so far; 0 before the first."""
        if math.isinf(self._best_s_per_token):
            return 0.0
        return (num_computed_tokens + self._added) * self._best_s_per_token

    def predict_marginal_s(self, num_tokens: float) -> float:
        """Predict how many seconds longer these tokens make a batch."""
        seen = self._seen
        return num_tokens * seen.seconds / seen.num_tokens if seen.num_tokens else 0.0

    def max_tokens_within(self, limit_s: float) -> float:
        """Invert predict_s: return the tokens of the longest batch; 0 before the first one."""
        seen = self._seen
        if not seen.num_tokens:
            return 0.0
        if not seen.seconds:
            return math.inf
        return max(0.0, limit_s * seen.num_tokens / seen.seconds - self._added)

    def _better_ratio(
        self, num_computed: float, num_known: float, seconds: float, rate: float
    ) -> float:
        """Correct the ratio of a known token's cost by a batch: one damped step of Newton's method.

        A batch tells of it by as much as its share of known tokens differs from that of the batches
        before. Where all are alike, only their speed can be learnt, and the ratio stays.
        """
        seen = self._seen
        read = seen.known_ratio * num_known
        predicted_s = self.predict_marginal_s(num_computed + read)
        if predicted_s <= 0 or seconds <= 0:  # nothing is known yet, or the clock has jumped
            return seen.known_ratio
        error = math.log(min(max(seconds / predicted_s, 1 / _MAX_RATIO), _MAX_RATIO))
        excess = read / (num_computed + read) - (1 - seen.num_computed / seen.num_tokens)
        step = rate * error * excess / (excess**2 + _PLAIN_EXCESS**2)
        ratio = seen.known_ratio * math.exp(step)
        return min(max(ratio, _MIN_KNOWN_RATIO), _MAX_KNOWN_RATIO)
