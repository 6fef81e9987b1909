"""What the batcher may hold and do at once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Of batches and of the queue.

    Attributes:
        max_batch_tokens: of one batch; a larger job runs alone.
        max_batch_s: predicted duration of one batch; likewise.
        max_queue_requests: jobs waiting; one more is refused.
        max_queue_tokens: tokens of the jobs waiting.
        max_queue_share: of the time until a job's deadline, for which it may be predicted to wait.
    """

    max_batch_tokens: int
    max_batch_s: float
    max_queue_requests: int
    max_queue_tokens: int
    max_queue_share: float
