"""Puts linear layers that take the same input in one: q, k and v; gate and up.

Axes: D = head_dim.
"""

import torch
from torch import nn
from transformers import PretrainedConfig

from blockrank_server.models.engine.network import Network, Place

_QKV = ("q_proj", "k_proj", "v_proj")
_GATE_UP = ("gate_proj", "up_proj")
_HEAD_NORMS = ("q_norm", "k_norm")


class MergedNetwork(Network):
    """Holds the weights of a Network in fewer parameters; its layers are not called.

    Args:
        config: must be of a supported family; it still names all layers of the checkpoint.
        last_layer: 0-based; None keeps every layer whole, norm and head, as in Network.
    """

    def __init__(self, config: PretrainedConfig, last_layer: int | None) -> None:
        super().__init__(config, last_layer)
        self._places = super().places()
        for i, layer in enumerate(self.layers):
            attention = f"layers.{i}.self_attn"
            if i < len(self.whole_layers):
                self._merge(attention, _QKV, "qkv_proj")
                self._merge(f"layers.{i}.mlp", _GATE_UP, "gate_up_proj")
            if hasattr(layer.self_attn, "q_norm"):
                self._stack_head_norms(attention)

    def places(self) -> dict[str, Place]:
        """Map the names a checkpoint has for its tensors, without a prefix, to where they stand."""
        return self._places

    def _merge(self, path: str, names: tuple[str, ...], merged: str) -> None:
        """Put one linear layer in the place of several with the same input."""
        module = self.get_submodule(path)
        parts: list[nn.Linear] = [getattr(module, name) for name in names]
        first, start = parts[0], 0
        whole = nn.Linear(
            first.in_features,
            sum(part.out_features for part in parts),
            bias=first.bias is not None,
            device=first.weight.device,
            dtype=first.weight.dtype,
        )
        for name, part in zip(names, parts, strict=True):
            for kind, tensor in part.state_dict().items():
                self._places[f"{path}.{name}.{kind}"] = Place(
                    f"{path}.{merged}.{kind}", start, tensor.shape
                )
            start += part.out_features
            delattr(module, name)
        setattr(module, merged, whole)

    def _stack_head_norms(self, path: str) -> None:
        module = self.get_submodule(path)
        for row, name in enumerate(_HEAD_NORMS):
            weight_D = getattr(module, name).weight
            self._places[f"{path}.{name}.weight"] = Place(
                f"{path}.head_norms_2D", row, weight_D.shape
            )
            delattr(module, name)
        module.head_norms_2D = nn.Parameter(torch.stack([torch.ones_like(weight_D)] * 2))
