"""Puts LoRA adapters on a network, and writes them as PEFT's own files.

models/checkpoint/adapter.py merges them when serving.
"""

from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from blockrank_server.models.checkpoint.adapter import ADAPTER_FILE
from blockrank_server.models.checkpoint.safetensors_fault import unusable
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.training.config import Lora
from blockrank_server.models.training.errors import ConfigError

# PEFT wraps the causal language model, whose decoder is "model".
_PREFIX = "base_model.model.model."
# What PEFT calls the only adapter of a network; not part of the names in its files.
_ADAPTER = ".default"


def add_adapters(network: nn.Module, lora: Lora, base: str) -> LoraConfig:
    """Put adapters beside a network's linear layers, to be trained in fp32.

    They are drawn from torch's random numbers: seed them first.

    Args:
        network: gets the adapters; its other weights are frozen.
        base: the name of the checkpoint that the adapter's file gives.

    Raises:
        ConfigError: no layer is left to get one.
    """
    targets = [
        name
        for name, module in network.named_modules()
        if name.rpartition(".")[2] in lora.modules
        and isinstance(module, nn.Linear)
        and int(name.split(".")[1]) >= lora.first_layer
    ]
    if not targets:
        raise ConfigError(
            f"lora: none of {', '.join(lora.modules)} from layer {lora.first_layer} on"
        )
    # A pattern, because PEFT shortens long lists of names to suffixes that fit this network only.
    names = "|".join(name.replace(".", r"\.") for name in targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=rf"(?:.*\.)?(?:{names})",
        bias="none",
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        inference_mode=True,
    )
    inject_adapter_in_model(config, network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(_is_adapter(name))
        if _is_adapter(name):
            parameter.data = parameter.data.float()
    return config


def save_adapters(network: nn.Module, config: LoraConfig, folder: Path) -> None:
    """Write both files of an adapter."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: parameter.detach().cpu().contiguous()
        for name, parameter in _adapter_parameters(network).items()
    }
    save_file(tensors, folder / ADAPTER_FILE, metadata={"format": "pt"})
    (folder / ADAPTER_FILE).chmod(0o644)  # written for the owner alone; served by another user
    config.save_pretrained(str(folder))


def load_adapters(network: nn.Module, folder: Path) -> None:
    """Take an adapter's tensors over into a network that has the same adapters.

    Raises:
        CheckpointError: the file is missing or broken, or is of other ranks or layers.
    """
    path = folder / ADAPTER_FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise unusable(path, error) from error
    parameters = _adapter_parameters(network)
    if odd := sorted(tensors.keys() ^ parameters.keys()):
        raise CheckpointError(f"{path} does not fit the config's lora: {odd[0]}")
    for name, parameter in parameters.items():
        if tensors[name].shape != parameter.shape:
            raise CheckpointError(
                f"{path}: {name} is {list(tensors[name].shape)}, the config's lora says "
                f"{list(parameter.shape)}"
            )
        with torch.no_grad():
            parameter.copy_(tensors[name])


def _adapter_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    return {
        _PREFIX + name.replace(_ADAPTER, ""): parameter
        for name, parameter in network.named_parameters()
        if _is_adapter(name)
    }


def _is_adapter(name: str) -> bool:
    return any(f".{kind}." in name for kind in LoraLayer.adapter_layer_names)
