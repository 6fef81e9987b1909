"""Keeps a linear layer's weight in 8 or 4 bits, and makes it whole again in every call.

This saves memory, not time: activations keep their dtype, and so do the products. With thousands of
tokens in a call, making a weight whole costs next to nothing beside the product; torch's kernels
that multiply by packed weights are for a few tokens and lose by far (loadtests/results/LOG.md).

Axes: N = outputs, K = inputs, G = groups of a row, J = inputs of a group, P = bytes of a group.
"""

from collections.abc import Callable

import torch
from torch import nn

# Inputs that share a scale and a lowest value in 4 bits: as in GGUF's Q4_1, the format of the
# embedded default, and a divisor of every width of the supported families.
GROUP_SIZE = 32
_LARGEST_INT8 = 127
_LARGEST_INT4 = 15
_TINY = 1e-12  # equal weights have no step of their own
# Weights that are rounded at a time: in fp32 they are small beside one whole weight.
_NUM_AT_A_TIME = 2**22

Parts = tuple[torch.Tensor, ...]


class WeightOnlyLinear(nn.Module):
    """Computes y = x W^T + b, with W of fewer bits than x. The bias is kept as it is."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias

    def whole_weight(self) -> torch.Tensor:
        """Return the [N, K] weight as it was rounded, in the dtype of its scales."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute [..., N] from [..., K]."""
        return nn.functional.linear(x, self.whole_weight(), self.bias)


class Int8Linear(WeightOnlyLinear):
    """Keeps 8 bits a weight: -127 .. 127 times a scale for each output.

    Args:
        linear: is in float32 or bfloat16, and of any size.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        values_NK, scale_N1 = _by_rows(round_rows_to_int8, linear.weight.detach())
        self.values_NK: torch.Tensor
        self.scale_N1: torch.Tensor
        self.register_buffer("values_NK", values_NK)
        self.register_buffer("scale_N1", scale_N1)

    def whole_weight(self) -> torch.Tensor:
        """Return the [N, K] weight as it was rounded, in the dtype of its scales."""
        return self.values_NK * self.scale_N1


class Int4Linear(WeightOnlyLinear):
    """Keeps 4 bits a weight: the lowest of its group plus 0 .. 15 times the group's scale.

    Args:
        linear: is in float32 or bfloat16; its inputs are a multiple of GROUP_SIZE.

    Raises:
        ValueError: it has another size.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        weight = linear.weight.detach()
        if weight.shape[1] % GROUP_SIZE:
            raise ValueError(
                f"int4 needs weights whose inputs are a multiple of {GROUP_SIZE}, "
                f"got {list(weight.shape)}"
            )
        packed_NGP, scale_NG1, low_NG1 = _by_rows(round_groups_to_int4, weight)
        self.packed_NGP: torch.Tensor
        self.scale_NG1: torch.Tensor
        self.low_NG1: torch.Tensor
        self.register_buffer("packed_NGP", packed_NGP)
        self.register_buffer("scale_NG1", scale_NG1)
        self.register_buffer("low_NG1", low_NG1)

    def whole_weight(self) -> torch.Tensor:
        """Return the [N, K] weight as it was rounded, in the dtype of its scales."""
        steps_NGJ = torch.cat([self.packed_NGP & 15, self.packed_NGP >> 4], dim=2)
        return torch.addcmul(self.low_NG1, steps_NGJ, self.scale_NG1).flatten(1)


def round_rows_to_int8(weight_NK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round to [N, K] int8 and [N, 1] scales in the weight's dtype, whose product is nearest."""
    largest_N1 = weight_NK.abs().amax(1, keepdim=True).float()
    scale_N1 = _divided(largest_N1, _LARGEST_INT8).clamp(min=_TINY).to(weight_NK.dtype)
    values_NK = (weight_NK.float() / scale_N1.float()).round_()
    # A scale that was rounded down passes the largest.
    return values_NK.clamp_(-_LARGEST_INT8, _LARGEST_INT8).to(torch.int8), scale_N1


def round_groups_to_int4(
    weight_NK: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Round to [N, G, P] uint8, and [N, G, 1] scales and lowest values in the weight's dtype.

    A byte holds in its low bits one of the first half of the group, in its high bits one of the
    second half.
    """
    weight_NGJ = weight_NK.reshape(len(weight_NK), -1, GROUP_SIZE)
    low_NG1 = weight_NGJ.amin(2, keepdim=True)
    span_NG1 = weight_NGJ.amax(2, keepdim=True).float() - low_NG1.float()
    scale_NG1 = _divided(span_NG1, _LARGEST_INT4).clamp(min=_TINY).to(weight_NK.dtype)
    steps_NGJ = (weight_NGJ.float() - low_NG1.float()).div_(scale_NG1.float()).round_()
    # A scale that was rounded down passes the largest.
    first_NGP, second_NGP = steps_NGJ.clamp_(max=_LARGEST_INT4).to(torch.uint8).chunk(2, dim=2)
    return first_NGP | second_NGP << 4, scale_NG1, low_NG1


def _divided(numbers: torch.Tensor, by: int) -> torch.Tensor:
    """Divide to the last bit alike on every device: CUDA multiplies by a number's reciprocal."""
    return numbers / torch.full_like(numbers, by)


def _by_rows(round_rows: Callable[[torch.Tensor], Parts], weight_NK: torch.Tensor) -> Parts:
    """Round a weight a few rows at a time, to save memory."""
    rows = max(1, _NUM_AT_A_TIME // weight_NK.shape[1])
    parts = zip(*map(round_rows, torch.split(weight_NK, rows)), strict=True)
    return tuple(torch.cat(part) for part in parts)
