"""Computes a linear layer in bytes on the CPU: weights are rounded once, inputs in every call.

Axes: T = tokens, N = outputs, K = inputs.
"""

import torch
from torch import nn

from blockrank_server.kernels.glue import TINY
from blockrank_server.models.quantization.weight_only import round_rows_to_int8

_LARGEST = 127
# The instructions multiply unsigned by signed bytes: inputs are moved up, which the kernel undoes.
_ZERO = 128


class DynamicInt8Linear(nn.Module):
    """Computes y = x W^T + b with a scale for each output of W and one for each token of x.

    A token's result depends on no other token, and sums are exact: it is the same in every batch.

    Args:
        linear: is in float32 or bfloat16, on the CPU.

    Source:
        Dynamic row-wise scaling as in LLM.int8 (arXiv:2208.07339) and torchao's
        Int8DynamicActivationInt8WeightConfig; the product is oneDNN's, through the operator that
        torch.compile uses for it.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        values_NK, scale_N1 = round_rows_to_int8(linear.weight.detach())
        self.packed: torch.Tensor
        self.scale_N: torch.Tensor
        # As oneDNN wants them: no tensor that could be moved.
        packed = torch.ops.onednn.qlinear_prepack(values_NK, None)
        self.register_buffer("packed", packed)
        self.register_buffer("scale_N", scale_N1.flatten().float())
        self._zero_N = torch.zeros(len(values_NK), dtype=torch.int64)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute [..., N] from [..., K], in the dtype of x; sums are kept in int32."""
        x_TK = x.flatten(0, -2)
        # In the dtype of x, so that the result is scaled without a copy in float32.
        scale_T1 = x_TK.abs().amax(1, keepdim=True).float().clamp_(min=TINY).div_(_LARGEST)
        scale_T1 = scale_T1.to(x.dtype)
        steps_TK = x_TK.float() if x.dtype != torch.float32 else x_TK
        steps_TK = torch.div(steps_TK, scale_T1.float()).round_().to(torch.int8)
        shifted_TK = steps_TK.view(torch.uint8).bitwise_xor_(_ZERO)
        y_TN: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            shifted_TK, 1.0, _ZERO, self.packed, self.scale_N, self._zero_N,
            None, 1.0, 0, x.dtype, "none", [], "",
        )  # fmt: skip
        y_TN *= scale_T1
        if self.bias is not None:
            y_TN += self.bias
        return y_TN.view(*x.shape[:-1], -1)
