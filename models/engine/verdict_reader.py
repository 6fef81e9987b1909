"""Reads the verdict on every document of a batch: the logits of no and yes at its last token.

Axes: R = documents of all requests, each with its last token as the signal token.
"""

import numpy as np
import torch

from blockrank_server.kernels.upload import upload
from blockrank_server.models.engine.packing import PackedBatch


class VerdictReader:
    """Takes the logits of no and yes while a batch passes through.

    Args:
        batch: is of a card that reads verdicts.
    """

    def __init__(self, batch: PackedBatch, device: torch.device) -> None:
        last_R = [segment.stop - 1 for segment in batch.segments if segment.full]
        self.signal_R = upload(np.array(last_R, np.int64), device)
        self._num_requests = len(batch.num_documents)
        self._logits_R2: torch.Tensor | None = None

    def read_logits(self, logits_R2: torch.Tensor) -> None:
        """Take the fp32 logits of no and yes of all documents, in order."""
        self._logits_R2 = logits_R2

    def joined_scores(self) -> torch.Tensor:
        """Reduce to [sum of N + requests] fp32.

        A score is the probability of yes, where no and yes are all there is. Scores belong to no
        list, whose levels are 0.
        """
        assert self._logits_R2 is not None  # the whole decoder has run
        yes_R = self._logits_R2.softmax(1)[:, 1]
        return torch.cat([yes_R, yes_R.new_zeros(self._num_requests)])

    def joined_part_shares(self) -> None:
        """Give none: no attention is read whose shares they would be."""
