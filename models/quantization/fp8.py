"""Computes a linear layer in float8: weights are rounded once, activations in every call.

Axes: M = tokens, N = outputs, K = inputs.
"""

import torch
from torch import nn

FP8 = torch.float8_e4m3fn
_LARGEST = torch.finfo(FP8).max
_TINY = 1e-12  # a row of zeros has no scale of its own


class Fp8Linear(nn.Module):
    """y = x W^T + b with x and W in float8 e4m3 and a scale for each of their rows.

    Args:
        linear: is in bfloat16; its sizes are multiples of 16, as the matrix units ask.

    Raises:
        ValueError: it has another dtype or size.

    Source:
        Dynamic row-wise scaling as in torchao's Float8DynamicActivationFloat8WeightConfig(PerRow),
        which is not used: to have it installed makes transformers import it, on every machine.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight
        if weight.dtype != torch.bfloat16 or any(size % 16 for size in weight.shape):
            raise ValueError(
                f"float8 needs bfloat16 weights with sizes that are multiples of 16, got "
                f"{str(weight.dtype).removeprefix('torch.')} {list(weight.shape)}"
            )
        weight_NK, scale_N1 = round_rows_to_fp8(weight.detach())
        self.weight_NK: torch.Tensor
        self.scale_1N: torch.Tensor
        self.register_buffer("weight_NK", weight_NK)
        self.register_buffer("scale_1N", scale_N1.T.contiguous())
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute [..., N] bfloat16 from [..., K] bfloat16; sums are kept in fp32."""
        x_MK, scale_M1 = round_rows_to_fp8(x.flatten(0, -2))
        y_MN: torch.Tensor = torch._scaled_mm(
            x_MK,
            self.weight_NK.T,
            scale_a=scale_M1,
            scale_b=self.scale_1N,
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        )
        if self.bias is not None:
            y_MN = y_MN + self.bias
        return y_MN.view(*x.shape[:-1], -1)


def round_rows_to_fp8(x_MK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round to [M, K] float8 and [M, 1] fp32 scales; each row's largest becomes float8's."""
    largest_M1 = x_MK.abs().amax(1, keepdim=True).float().clamp(min=_TINY)
    # Rounded before it is inverted, so that what divides is to the bit what multiplies back.
    inverse_M1 = (_LARGEST / largest_M1).to(x_MK.dtype)
    # Rounding can pass the largest, which float8 would make a nan.
    scaled_MK = (x_MK * inverse_M1).clamp_(-_LARGEST, _LARGEST)
    return scaled_MK.to(FP8), 1 / inverse_M1.float()
