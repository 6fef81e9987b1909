"""Merges a LoRA adapter, as PEFT writes it, into the weights at load: it costs serving nothing."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from blockrank_server.models.checkpoint.safetensors_fault import unusable
from blockrank_server.models.checkpoint.weights import is_needed
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.files.stand_in import stand_in_at

ADAPTER_FILE = "adapter_model.safetensors"
"""The file of the tensors in an adapter's folder."""

_NAME = re.compile(r"base_model\.model\.(?:model\.)?(layers\..+)\.lora_([AB])\.weight")


class _LoraConfig(BaseModel):
    """Holds the fields of adapter_config.json that change what is merged; others are PEFT's own."""

    model_config = ConfigDict(extra="ignore")

    peft_type: Literal["LORA"]
    r: int = Field(gt=0)
    lora_alpha: float
    use_rslora: bool = False
    # Kinds of LoRA that are more than W + scale * B A are refused, not approximated.
    use_dora: Literal[False] = False
    bias: Literal["none"] = "none"
    fan_in_fan_out: Literal[False] = False
    modules_to_save: None = None
    rank_pattern: dict[str, int] = Field(default={}, max_length=0)
    alpha_pattern: dict[str, float] = Field(default={}, max_length=0)

    @property
    def scale(self) -> float:
        return self.lora_alpha / (self.r**0.5 if self.use_rslora else self.r)


class Adapter:
    """Knows what a LoRA adapter adds to which weights.

    Args:
        folder: holds what PEFT writes.
        last_layer: 0-based; tensors of the layers above are skipped, as they are never loaded. None
            skips nothing.

    Raises:
        CheckpointError: a missing or broken file, or another kind of adapter.
    """

    def __init__(self, folder: Path, last_layer: int | None) -> None:
        self._folder = folder
        self._scale = _config(folder / "adapter_config.json").scale
        self._pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for name, pair in _pairs(folder / ADAPTER_FILE).items():
            weight = f"{name}.weight"
            if is_needed(weight, last_layer):
                if pair.keys() != {"A", "B"}:
                    raise CheckpointError(
                        f"adapter {folder}: {name} has only lora_{'/'.join(pair)}"
                    )
                self._pairs[weight] = pair["A"], pair["B"]

    def check(self, shapes: Mapping[str, torch.Size]) -> None:
        """Refuse an adapter of another network, before weights are loaded.

        Args:
            shapes: those of the network's tensors, by their names without the decoder's prefix.

        Raises:
            CheckpointError: a pair fits no weight of the network.
        """
        for name, (a, b) in self._pairs.items():
            if a.shape[0] != b.shape[1] or shapes.get(name) != (b.shape[0], a.shape[1]):
                raise CheckpointError(
                    f"adapter {self._folder}: {name.removesuffix('.weight')} fits no weight of "
                    "the network"
                )

    def merged(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Add the scaled B A to a weight, in fp32; a weight without one is returned as it is.

        Args:
            name: that of the weight, without the decoder's prefix.
        """
        if name not in self._pairs:
            return weight
        a, b = self._pairs[name]
        return weight.float() + self._scale * (b.float() @ a.float())


def _config(path: Path) -> _LoraConfig:
    try:
        return _LoraConfig.model_validate(json.loads(path.read_bytes()))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise CheckpointError(f"{path} is no plain LoRA adapter: {faults}") from error
    except (ValueError, RecursionError) as error:
        reason = stand_in_at(path) or f"is not JSON: {error}"
        raise CheckpointError(f"{path} {reason}") from error


def _pairs(path: Path) -> Mapping[str, dict[str, torch.Tensor]]:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise unusable(path, error) from error
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if (match := _NAME.fullmatch(name)) is None:
            raise CheckpointError(f"{path} holds the unexpected tensor {name!r}")
        pair = pairs.setdefault(match[1], {})
        if match[2] in pair:
            raise CheckpointError(f"{path} holds lora_{match[2]} of {match[1]} twice")
        pair[match[2]] = tensor
    return pairs
