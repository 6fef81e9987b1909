"""Computes a linear layer in float8: weights are rounded once, activations in every call.

Axes: M = tokens, N = outputs, K = inputs.
"""

import torch
from torch import nn

from blockrank_server.kernels.glue import Activations, RoundedRows, round_rows

# Weights that are rounded at a time: in fp32 they are small beside one whole weight.
_NUM_AT_A_TIME = 2**22
# No dimension is small enough for a kernel of its own, nor a power of two.
_PROBED_M, _PROBED_NK = 48, 272


class Fp8Linear(nn.Module):
    """Computes y = x W^T + b with x and W in float8 e4m3 and a scale for each of their rows.

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
        rows = max(1, _NUM_AT_A_TIME // weight.shape[1])
        parts = [round_rows(part) for part in torch.split(weight.detach(), rows)]
        self.weight_NK: torch.Tensor
        self.scale_1N: torch.Tensor
        self.register_buffer("weight_NK", torch.cat([part.values_TC for part in parts]))
        self.register_buffer(
            "scale_1N", torch.cat([part.scale_T1 for part in parts]).T.contiguous()
        )
        self.bias = linear.bias

    def forward(self, x: Activations) -> torch.Tensor:
        """Compute [..., N] bfloat16 from [..., K]; sums are kept in fp32.

        Args:
            x: in bfloat16, or [M, K] rounded already.
        """
        rounded = x if isinstance(x, RoundedRows) else round_rows(x.flatten(0, -2))
        y_MN = multiply(rounded, RoundedRows(self.weight_NK, self.scale_1N), self.bias)
        return y_MN if isinstance(x, RoundedRows) else y_MN.view(*x.shape[:-1], -1)


def multiply(
    x_MK: RoundedRows, weight_NK: RoundedRows, bias_N: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute [M, N] bfloat16.

    Args:
        weight_NK: its scales are [1, N].
    """
    y_MN: torch.Tensor = torch._scaled_mm(
        x_MK.values_TC,
        weight_NK.values_TC.T,
        scale_a=x_MK.scale_T1,
        scale_b=weight_NK.scale_T1,
        bias=bias_N,
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return y_MN


def probe(device: torch.device) -> str | None:
    """Multiply once on a device; tell what is wrong with the product, or None."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(size, _PROBED_NK, generator=generator).to(device, torch.bfloat16)
        for size in (_PROBED_M, _PROBED_NK)
    )
    bias = torch.zeros(_PROBED_NK, dtype=torch.bfloat16, device=device)
    (a, scale_a), (b, scale_b) = round_rows(x), round_rows(weight)
    try:
        found = multiply(RoundedRows(a, scale_a), RoundedRows(b, scale_b.T.contiguous()), bias)
        exact = (a.float() * scale_a) @ (b.float() * scale_b).T
        off = float((found.float() - exact).abs().max() / exact.abs().max())
    except RuntimeError as error:
        return str(error).strip().partition("\n")[0]
    return None if off < 2**-6 else f"it is off by {off:.2g} of its largest"
