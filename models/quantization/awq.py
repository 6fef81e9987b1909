"""Unpacks linear layers of AutoAWQ's checkpoints, of its format gemm in 4 bits.

Of a layer such a checkpoint holds, transposed against torch's weights, qweight [K, N / 8] and
qzeros [G, N / 8] of int32, eight outputs a word, and scales [G, N] of float16. A weight is
(step - zero) * scale (arXiv:2306.00978; github.com/casper-hansen/AutoAWQ).

Axes: N = outputs, K = inputs, G = groups of inputs, J = inputs of a group, P = bytes of a group.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.quantization.weight_only import WeightOnlyLinear

PARTS = ("qweight", "qzeros", "scales")
_OUTPUTS_PER_WORD = 8
# Of eight outputs in order, the four bits of the word that hold each.
_NIBBLES = (0, 4, 1, 5, 2, 6, 3, 7)
_FIELDS: Mapping[str, object] = {
    "quant_method": "awq",
    "bits": 4,
    "version": "gemm",
    "zero_point": True,
    "modules_to_not_convert": None,
}


@dataclass(frozen=True, slots=True)
class AwqFormat:
    """Says how the linear layers of a checkpoint are packed."""

    group_size: int

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Read quantization_config of a config.json.

        Raises:
            CheckpointError: it is of another format; naming field, value and what is supported.
        """
        for name, supported in _FIELDS.items():
            found = fields.get(name, None if supported is None else "not given")
            value = found.lower() if isinstance(found, str) else found
            if value != supported or isinstance(value, bool) != isinstance(supported, bool):
                raise CheckpointError(
                    f"config.json: quantization_config.{name} is {found!r}, only {supported!r} is "
                    "supported"
                )
        size = fields.get("group_size")
        if not isinstance(size, int) or size < 2 or size % 2:
            raise CheckpointError(
                f"config.json: quantization_config.group_size is {size!r}, an even number is needed"
            )
        return cls(size)

    def shapes(self, num_outputs: int, num_inputs: int) -> dict[str, torch.Size]:
        """Map each of PARTS to its shape in a layer.

        Raises:
            ValueError: the layer cannot be packed.
        """
        if num_outputs % _OUTPUTS_PER_WORD or num_inputs % self.group_size:
            raise ValueError(
                f"AWQ needs outputs in multiples of {_OUTPUTS_PER_WORD} and inputs in multiples of "
                f"the group size {self.group_size}, the config says {[num_outputs, num_inputs]}"
            )
        num_groups, num_words = num_inputs // self.group_size, num_outputs // _OUTPUTS_PER_WORD
        return {
            "qweight": torch.Size([num_inputs, num_words]),
            "qzeros": torch.Size([num_groups, num_words]),
            "scales": torch.Size([num_groups, num_outputs]),
        }


class AwqLinear(WeightOnlyLinear):
    """Keeps four bits a weight, and makes it whole in float32: scales in bfloat16 are too coarse.

    Args:
        linear: has the bias.
        parts: are PARTS of the layer, on the CPU or the device.
        dtype: is that of activations.
    """

    def __init__(
        self, linear: nn.Linear, parts: Mapping[str, torch.Tensor], dtype: torch.dtype
    ) -> None:
        super().__init__(linear)
        self._dtype = dtype
        scales_GN = parts["scales"]
        steps_NK = _nibbles(parts["qweight"]).T
        steps_NGJ = steps_NK.reshape(len(steps_NK), len(scales_GN), -1)
        first_NGP, second_NGP = steps_NGJ.chunk(2, dim=2)
        self.packed_NGP: torch.Tensor
        self.zero_NG1: torch.Tensor
        self.scale_NG1: torch.Tensor
        self.register_buffer("packed_NGP", (first_NGP | second_NGP << 4).contiguous())
        self.register_buffer("zero_NG1", _nibbles(parts["qzeros"]).T[..., None].contiguous())
        self.register_buffer("scale_NG1", scales_GN.T[..., None].contiguous())

    def whole_weight(self) -> torch.Tensor:
        """Return the [N, K] weight in the dtype of activations."""
        steps_NGJ = torch.cat([self.packed_NGP & 15, self.packed_NGP >> 4], dim=2)
        weight_NGJ = steps_NGJ.float().sub_(self.zero_NG1).mul_(self.scale_NG1)
        return weight_NGJ.flatten(1).to(self._dtype)


def _nibbles(words: torch.Tensor) -> torch.Tensor:
    """Return the [rows, N] numbers 0 .. 15, uint8, that [rows, N / 8] words hold."""
    shifts = 4 * torch.tensor(_NIBBLES, dtype=torch.int32, device=words.device)
    return (words[..., None] >> shifts & 15).to(torch.uint8).flatten(1)
