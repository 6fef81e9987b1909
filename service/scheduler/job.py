"""Describes one accepted request, what becomes of it, and the bucket of its length."""

from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from blockrank_server.models.prompt.request import EncodedRequest

DOCUMENT_EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def document_bucket(num_documents: int) -> str:
    """Name the bucket of a shortlist's length: the edge at or above it, or "more"."""
    return next((str(edge) for edge in DOCUMENT_EDGES if num_documents <= edge), "more")


class Drop(StrEnum):
    """Names why an accepted request was not run to its end, as `reason` of rerank_dropped_total."""

    CLIENT_GONE = "client_gone"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True)
class Scored:
    """Holds the model's answer to one job.

    Attributes:
        scores: raw scores in input order, one a document, all finite.
        queue_s: the time from acceptance to the start of the forward pass.
        infer_s: the time of the forward pass of the job's batch.
        level: that of the list (kernels/document_scores.py), finite.
        part_shares: that of each part of the documents, all finite; empty where none are asked for.
    """

    scores: list[float]
    queue_s: float
    infer_s: float
    level: float = 0.0
    part_shares: Sequence[float] = ()


@dataclass(slots=True, eq=False)
class Job:
    """Describes one accepted request.

    Attributes:
        num_tokens: what the request costs, in tokens to be computed (DurationModel.cost_tokens).
        accepted_s: when it was accepted, on the batcher's clock.
        deadline_s: after this moment of the same clock nobody waits for the answer.
        due_s: jobs run in this order; at or before the deadline.
        future: gets exactly one result or error; cancelled by a caller who has gone, whether the
            job waits or runs.
        is_claimed: whether it was taken out of the queue while its caller waited.
    """

    request: EncodedRequest
    num_tokens: int
    accepted_s: float
    deadline_s: float
    due_s: float
    future: Future[Scored] = field(default_factory=Future)
    is_claimed: bool = False

    @property
    def num_least_tokens(self) -> int:
        """Count what the request costs where its deadline is near."""
        return self.num_tokens - self.request.num_optional_tokens

    @property
    def bucket(self) -> str:
        """Return the bucket of a shortlist that costs as much and of which nothing is known."""
        request = self.request
        return document_bucket(-(-request.num_documents * self.num_tokens // request.num_tokens))

    def is_abandoned(self, now_s: float) -> bool:
        """Say whether nobody waits: the caller has gone, or the deadline has passed."""
        return self.future.cancelled() or now_s >= self.deadline_s

    def why_abandoned(self, now_s: float) -> Drop:
        return Drop.DEADLINE if now_s >= self.deadline_s else Drop.CLIENT_GONE

    def complete(self, scored: Scored) -> None:
        """Answer, unless it has been answered."""
        with suppress(InvalidStateError):
            self.future.set_result(scored)

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless it has been answered."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)
