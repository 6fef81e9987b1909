"""Learns from its batches how long the model takes, and how long it takes at the very least."""

import math

# Weight that a batch keeps with every batch after it; ten batches make most of the figure.
_KEPT = 0.9
# A batch that took longer than this many times its prediction counts as one that took just this:
# a machine that stood still (suspended, migrated) for an hour would have callers refused for long
# after. A device that is slower from now on is still learnt, within about ten batches.
_MAX_RATIO = 4.0


class DurationModel:
    """Predicts the duration of a batch from its tokens: each costs the same, and so does a batch.

    What a batch costs beside its tokens counts as so many tokens more, known from the warm-up; how
    long a token takes is learnt all the time. Safe to read on one thread while another records.

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
        self._seen = 0.0, 0.0  # tokens, seconds; one object, since two threads share it
        self._added = 0.0  # tokens
        self._best_s_per_token = math.inf

    def calibrate(self, few: tuple[float, float], many: tuple[float, float]) -> None:
        """Learn from two batches that nothing disturbed. Before the first prediction.

        Args:
            few: tokens and seconds of a small batch.
            many: tokens and seconds of a larger one.
        """
        more_s = many[1] - few[1]
        if more_s > 0:
            self._added = max(0.0, few[1] * (many[0] - few[0]) / more_s - few[0])
        self.record(*many)
        self.prove(*few)
        self.prove(*many)

    def record(self, num_tokens: float, seconds: float) -> None:
        """Learn from a batch. Large batches count for more: they tell more about the device."""
        num_before, seconds_before = self._seen
        if predicted_s := self.predict_s(num_tokens):
            seconds = min(seconds, _MAX_RATIO * predicted_s)
        num_seen = _KEPT * num_before + num_tokens + self._added
        self._seen = num_seen, _KEPT * seconds_before + seconds

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
        """Predict the duration of a batch; 0 before the first one, and for no tokens."""
        return self.predict_marginal_s(num_tokens + self._added) if num_tokens else 0.0

    def predict_least_s(self, num_computed_tokens: float) -> float:
        """Predict the duration of a batch at the best speed proved so far; 0 before the first."""
        if math.isinf(self._best_s_per_token):
            return 0.0
        return (num_computed_tokens + self._added) * self._best_s_per_token

    def predict_marginal_s(self, num_tokens: float) -> float:
        """Predict how many seconds longer these tokens make a batch."""
        num_seen, seconds = self._seen
        return num_tokens * seconds / num_seen if num_seen else 0.0

    def max_tokens_within(self, limit_s: float) -> float:
        """Invert predict_s: return the tokens of the longest batch; 0 before the first one."""
        num_seen, seconds_seen = self._seen
        if not num_seen:
            return 0.0
        if not seconds_seen:
            return math.inf
        return max(0.0, limit_s * num_seen / seconds_seen - self._added)
