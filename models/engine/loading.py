"""Loads a checkpoint's tensors into the network: all that it keeps, and no unknown one.

Each is merged, moved and quantized before the next is read, so that the device never holds more
than the weights as they are kept and a part of one layer.
"""

from pathlib import Path

import torch
from torch import nn
from transformers import PretrainedConfig

from blockrank_server.models.checkpoint.adapter import Adapter
from blockrank_server.models.checkpoint.weights import tensors
from blockrank_server.models.engine.network import Network
from blockrank_server.models.engine.quantize import linear_names, quantize_linear
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.quantization.names import Quantization

_PREFIX = "model."


def load_network(
    folder: Path,
    config: PretrainedConfig,
    last_layer: int,
    device: torch.device,
    dtype: torch.dtype,
    *,
    quantization: Quantization = "none",
    adapter: Adapter | None = None,
) -> Network:
    """Make the network with its weights, ready to score.

    Args:
        folder: holds model.safetensors, or shards and their index.
        config: must be that of the checkpoint.
        last_layer: 0-based, the last read layer.
        device: gets the weights.
        dtype: is what the weights are converted to.
        quantization: is for the linear layers below the read layer; as check_quantization returns.
        adapter: is added to the weights before they are quantized.

    Raises:
        CheckpointError: a file is missing or broken; a tensor is missing, unexpected, of another
            shape than the config says, or of one that cannot be quantized; or the adapter is that
            of another network.
    """
    with torch.device("meta"):
        network = Network(config, last_layer)
    shapes = {_PREFIX + name: tensor.shape for name, tensor in network.state_dict().items()}
    if adapter is not None:
        adapter.check(shapes)
    to_quantize = {f"{name}.weight" for name in linear_names(network, quantization)}
    missing = set(shapes)
    for path, name, tensor in tensors(folder, last_layer):
        if name not in shapes:
            raise CheckpointError(f"{path} holds the unexpected tensor {name!r}")
        if tensor.shape != shapes[name]:
            raise CheckpointError(
                f"{path}: {name} is {list(tensor.shape)}, the config says {list(shapes[name])}"
            )
        whole = tensor if adapter is None else adapter.merged(name, tensor)
        own = name.removeprefix(_PREFIX)
        _place(network, own, whole.to(device, dtype, copy=True))
        if own in to_quantize:
            quantize_linear(network, own.removesuffix(".weight"), quantization)
        missing.discard(name)
    if missing:
        raise CheckpointError(f"{folder} lacks {len(missing)} tensors, among them {min(missing)!r}")
    network.restore_rotary(device)
    return network.requires_grad_(False).eval()


def _place(network: Network, name: str, tensor: torch.Tensor) -> None:
    module, _, part = name.rpartition(".")
    setattr(network.get_submodule(module), part, nn.Parameter(tensor, requires_grad=False))
