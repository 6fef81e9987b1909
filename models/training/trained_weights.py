"""Says what of a model is trained, and how that is written and read: adapters, or every weight."""

import shutil
from pathlib import Path
from typing import Protocol

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.checkpoint.safetensors_fault import unusable
from blockrank_server.models.checkpoint.weights import SINGLE_FILE
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.training.lora import load_adapters, save_adapters

_HEAD = "lm_head."


class TrainedWeights(Protocol):
    """Is the trained part of a network."""

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write it.

        Args:
            folder: is made where it is missing.
            dtype: whole weights are written in it; adapters stay fp32.
        """

    def load(self, folder: Path) -> None:
        """Read what save wrote.

        Raises:
            CheckpointError: it is missing, broken, or of another network.
        """

    def card(self, card: Card) -> Card:
        """Return the card to put beside the files of save, so that a ranker opens them."""


class TrainedAdapters:
    """Trains LoRA adapters beside frozen weights.

    Args:
        network: has the adapters in it.
        config: PEFT's description of the adapters.
    """

    def __init__(self, network: nn.Module, config: LoraConfig) -> None:
        self._network = network
        self._config = config

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        save_adapters(self._network, self._config, folder)

    def load(self, folder: Path) -> None:
        load_adapters(self._network, folder)

    def card(self, card: Card) -> Card:
        return card.model_copy(update={"adapter": "."})


class TrainedNetwork:
    """Trains every weight of a network.

    Args:
        network: its weights become fp32 and are trained.
        source: the folder of the checkpoint it came from, with config.json and tokenizer.json.
        is_head_tied: says that the LM head's weights are those of the embedding.
    """

    def __init__(self, network: nn.Module, source: Path, *, is_head_tied: bool) -> None:
        self._network = network.requires_grad_(True).float()
        self._source = source
        self._is_head_tied = is_head_tied

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            name: tensor.detach().to("cpu", dtype).contiguous()
            for name, tensor in self._tensors().items()
        }
        save_file(tensors, folder / SINGLE_FILE, metadata={"format": "pt"})
        (folder / SINGLE_FILE).chmod(0o644)  # written for the owner alone; served by another user
        for name in ("config.json", "tokenizer.json"):
            shutil.copyfile(self._source / name, folder / name)

    def load(self, folder: Path) -> None:
        path = folder / SINGLE_FILE
        try:
            found = load_file(path)
        except (OSError, SafetensorError) as error:
            raise unusable(path, error) from error
        tensors = self._tensors()
        if odd := sorted(found.keys() ^ tensors.keys()):
            raise CheckpointError(f"{path} is of another network: {odd[0]}")
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(found[name])

    def card(self, card: Card) -> Card:
        return card.model_copy(update={"weights": None, "adapter": None})

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Return every weight by its name in transformers' causal language model."""
        return {
            name if name.startswith(_HEAD) else f"model.{name}": tensor
            for name, tensor in self._network.state_dict().items()
            if not (self._is_head_tied and name.startswith(_HEAD))
        }
