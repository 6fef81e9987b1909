"""How fast the model has been of late."""

import math

# Weight that a batch keeps with every batch after it; ten batches make most of the figure.
_KEPT = 0.9
# A batch that took longer than this many times its prediction counts as one that took just this:
# a machine that stood still (suspended, migrated) for an hour would have callers refused for long
# after. A device that is slower from now on is still learnt, within about ten batches.
_MAX_RATIO = 4.0


class Throughput:
    """Predicts the duration of a batch from its tokens: the cost is linear in them."""

    def __init__(self) -> None:
        self._seen = 0.0, 0.0  # tokens, seconds; one object, since two threads share it

    def record(self, num_tokens: float, seconds: float) -> None:
        """Learn from a batch. Large batches count for more: they tell more about the device."""
        num_before, seconds_before = self._seen
        if predicted_s := self.seconds(num_tokens):
            seconds = min(seconds, _MAX_RATIO * predicted_s)
        self._seen = _KEPT * num_before + num_tokens, _KEPT * seconds_before + seconds

    def seconds(self, num_tokens: float) -> float:
        """Predicted duration; 0 before the first batch."""
        num_seen, seconds = self._seen
        return num_tokens * seconds / num_seen if num_seen else 0.0

    def tokens(self, seconds: float) -> float:
        """Tokens of a batch of this predicted duration; 0 before the first batch."""
        num_seen, seconds_seen = self._seen
        if not num_seen:
            return 0.0
        return seconds * num_seen / seconds_seen if seconds_seen else math.inf
