"""Scores on their way from the device."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch

from blockrank_server.models.errors import DeviceLostError


class LaunchedPass:
    """Holds one forward pass that has been launched, its scores on the way to the CPU.

    Args:
        joined: fp32 scores, request after request, then the level of each list, then the shares
            of parts; on the device, their last use there.
        num_documents: one for each request.
        num_shares: counts those of each request; 0 where none are asked for.
    """

    def __init__(
        self, joined: torch.Tensor, num_documents: Sequence[int], num_shares: Sequence[int]
    ) -> None:
        self._num_documents, self._num_shares = tuple(num_documents), tuple(num_shares)
        self._num_scores = sum(self._num_documents)
        self._done: torch.cuda.Event | None = None
        if joined.device.type == "cuda":
            # A copy asked for later would wait for the batches started in between.
            self._joined = torch.empty(joined.shape, dtype=joined.dtype, pin_memory=True)
            self._joined.copy_(joined, non_blocking=True)
            # Blocking sleeps instead of spinning: the tokenisers need the core.
            self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._done.record()
        else:
            self._joined = joined

    @property
    def is_on_device(self) -> bool:
        """Say whether the scores may have to be waited for."""
        return self._done is not None

    def rows(self) -> list[list[float]]:
        """Wait for the device (the one synchronisation of a batch), then give a row a request.

        Raises:
            DeviceLostError: the device failed.
        """
        if self._done is not None:
            try:
                self._done.synchronize()
            except torch.AcceleratorError as error:
                raise DeviceLostError(f"the device failed: {error}") from error
        return _split(self._joined[: self._num_scores], self._num_documents)

    def levels(self) -> list[float]:
        """Give a number a request, after rows."""
        levels: list[float] = self._joined[self._num_scores : self._first_share].tolist()
        return levels

    def part_shares(self) -> list[list[float]]:
        """Give a row a request, after rows."""
        return _split(self._joined[self._first_share :], self._num_shares)

    @property
    def _first_share(self) -> int:
        return self._num_scores + len(self._num_documents)


class PendingScores:
    """Holds the scores of a batch that has been started.

    Args:
        passes: its forward passes, in the order of its requests.

    Attributes:
        was_split: whether the batch did not fit the device's memory as a whole.
        is_done: whether there is no device to wait for: the work was done on the CPU.
    """

    def __init__(self, passes: Sequence[LaunchedPass]) -> None:
        self._passes = passes
        self.was_split = len(passes) > 1
        self.is_done = not any(each.is_on_device for each in passes)

    def result(self) -> list[list[float]]:
        """Wait for the device, then give the raw score of every document, one row a request."""
        return [row for each in self._passes for row in each.rows()]

    def levels(self) -> list[float]:
        """Give the level of each request's list (kernels/document_scores.py); after result."""
        return [level for each in self._passes for level in each.levels()]

    def part_shares(self) -> list[list[float]]:
        """Give the share of every part in its document's score, one row a request; after result.

        Where they are asked for by word of the query, the parts' come once for each word.
        """
        return [row for each in self._passes for row in each.part_shares()]


def _split(joined: torch.Tensor, lengths: Sequence[int]) -> list[list[float]]:
    edges = list(accumulate(lengths, initial=0))
    values = joined.tolist()
    return [values[start:stop] for start, stop in pairwise(edges)]
