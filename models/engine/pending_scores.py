"""Scores on their way from the device."""

from collections.abc import Sequence

import torch

from blockrank_server.models.errors import DeviceLostError


class Flight:
    """One forward pass that has been launched, its scores on the way to the CPU.

    Args:
        scores: [N] fp32 for each request, on the device; their last use there.
    """

    def __init__(self, scores: Sequence[torch.Tensor]) -> None:
        self._lengths = [len(row) for row in scores]
        joined = torch.cat(list(scores))
        self._landed: torch.cuda.Event | None = None
        if joined.device.type == "cuda":
            # A copy asked for later would wait for the batches started in between.
            self._joined = torch.empty(joined.shape, dtype=joined.dtype, pin_memory=True)
            self._joined.copy_(joined, non_blocking=True)
            # Blocking sleeps instead of spinning: the tokenisers need the core.
            self._landed = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._landed.record()
        else:
            self._joined = joined

    @property
    def is_on_device(self) -> bool:
        """Whether the scores may have to be waited for."""
        return self._landed is not None

    def rows(self) -> list[list[float]]:
        """One row of scores a request. Waits for the device: the one synchronisation of a batch.

        Raises:
            DeviceLostError: the device failed.
        """
        if self._landed is not None:
            try:
                self._landed.synchronize()
            except torch.AcceleratorError as error:
                raise DeviceLostError(f"the device failed: {error}") from error
        values, rows, done = self._joined.tolist(), [], 0
        for length in self._lengths:
            rows.append(values[done : done + length])
            done += length
        return rows


class Pending:
    """A batch that has been started.

    Args:
        flights: its forward passes, in the order of its requests.

    Attributes:
        was_split: whether the batch did not fit the device's memory as a whole.
        is_landed: whether there is no device to wait for: the work was done on the CPU.
    """

    def __init__(self, flights: Sequence[Flight]) -> None:
        self._flights = flights
        self.was_split = len(flights) > 1
        self.is_landed = not any(flight.is_on_device for flight in flights)

    def result(self) -> list[list[float]]:
        """Raw score of every document of every request, in input order. Waits for the device."""
        return [row for flight in self._flights for row in flight.rows()]
