"""Holds what the service knows of one HTTP request while it lasts."""

import math
import time
from dataclasses import dataclass, field

from blockrank_server.service.metrics import CachedShare

REQUEST_ID_HEADER = "X-Request-ID"


@dataclass(slots=True)
class RequestRecord:
    """Holds what is known of a request; the handler fills it in.

    Attributes:
        request_id: the caller's, or a new one.
        started_s: when it came, on the clock of time.perf_counter.
        is_rerank: whether it counts in the metrics of rerank requests.
        dialect: the name of the body's dialect; None until the body is parsed.
        reason: ServiceError.reason, if it ended in an error.
        failed_status: the status of that error where it was answered by the order given; else 0.
        key: the name of the caller's API key, if it has one.
        key_salt: what sets the documents of its API key apart from those of others, never logged;
            empty where keys do not salt.
        num_documents: documents in the body, blank ones included, and every chunk as one.
        num_tokens: tokens of the whole prompt.
        cached: which of its documents were known.
        tokenize_s: how long parsing and tokenising took.
        queue_s: how long it waited to be batched.
        infer_s: how long its batch's forward pass took.
        timeout_ms: the time in which it must be answered.
        max_timeout_ms: the longest that the caller could have asked for.
        deadline_s: when it must be answered, on the clock of time.monotonic.
        tokenized_s: when tokenising ended, on the clock of started_s; 0 if it did not.
        scored_s: when the scores came, on the clock of started_s; 0 if they did not.
    """

    request_id: str
    started_s: float
    is_rerank: bool = False
    dialect: str | None = None
    reason: str | None = None
    failed_status: int = 0
    key: str | None = None
    key_salt: str = field(default="", repr=False)
    num_documents: int = 0
    num_tokens: int = 0
    cached: CachedShare = CachedShare.NONE
    tokenize_s: float = 0.0
    queue_s: float = 0.0
    infer_s: float = 0.0
    timeout_ms: int = 0
    max_timeout_ms: int = 0
    deadline_s: float = math.inf
    tokenized_s: float = 0.0
    scored_s: float = 0.0

    def periods(self) -> list[tuple[str, float, float]]:
        """Return name, start and end of the stages it went through, on the clock of started_s."""
        found = []
        if self.tokenized_s:
            found.append(("tokenize", self.tokenized_s - self.tokenize_s, self.tokenized_s))
        if self.scored_s:
            batched_s = self.tokenized_s + self.queue_s
            found.append(("queue", self.tokenized_s, batched_s))
            found.append(("batch", batched_s, self.scored_s))
        return found

    def stages(self) -> dict[str, float]:
        """Return the seconds spent so far, by stage."""
        return {
            "tokenize": self.tokenize_s,
            "queue": self.queue_s,
            "infer": self.infer_s,
            "total": time.perf_counter() - self.started_s,
        }
