"""Cuts the tokens of a batch into slices, each of which runs by itself between two attentions.

Axes: T = tokens of a batch, t = those of a slice, C = hidden size, D = head_dim.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from blockrank_server.kernels.glue import Activations, Glue, RoundedRows
from blockrank_server.models.quantization.fp8 import Fp8Linear


class Rotary(NamedTuple):
    """Holds the rotary embedding of tokens, as transformers computes it."""

    cos_TD: torch.Tensor
    sin_TD: torch.Tensor


class ResidualStream:
    """Holds the hidden states, and what the last block computed: the next norm adds it to them."""

    def __init__(self, hidden_TC: torch.Tensor, glue: Glue, eps: float) -> None:
        self._hidden_TC, self._glue, self._eps = hidden_TC, glue, eps
        self._delta_TC: torch.Tensor | None = None

    def add(self, delta_TC: torch.Tensor) -> None:
        self._delta_TC = delta_TC

    def settle(self) -> None:
        """Add what is waiting, where no norm does."""
        delta_TC, self._delta_TC = self._delta_TC, None
        if delta_TC is not None:
            self._hidden_TC += delta_TC

    def normed(self, norm: Any, product: nn.Module) -> Any:
        """Add what is waiting, and normalise for a product, which may take float8."""
        delta_TC, self._delta_TC = self._delta_TC, None
        return self._glue.add_rms_norm(
            self._hidden_TC, delta_TC, norm.weight, self._eps, takes_fp8(product)
        )


class TokenSlice(NamedTuple):
    """Holds what is known of tokens that run together."""

    stream: ResidualStream
    rotary: Rotary


def split(heads: Activations, size: int) -> deque[Activations]:
    """Split the rows into slices of so many."""
    if isinstance(heads, torch.Tensor):
        return deque(torch.split(heads, size))
    parts = (torch.split(part, size) for part in heads)
    return deque(map(RoundedRows, *parts))


def join(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Put the rows of slices behind one another; one slice is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def takes_fp8(product: nn.Module) -> bool:
    """Tell whether the kernel before a product rounds for it."""
    return isinstance(product, Fp8Linear)
