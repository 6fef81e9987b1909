"""Loads a checkpoint's tensors into the network: all that it keeps, and no unknown one.

Each is merged, moved and quantized before the next is read, so that the device never holds more
than the weights as they are kept and a part of one layer. Tensors that stand in one parameter are
quantized when the last of them is there.
"""

from collections import Counter
from pathlib import Path

import torch
from torch import nn
from transformers import PretrainedConfig

from blockrank_server.kernels.glue import Glue
from blockrank_server.models.checkpoint.adapter import Adapter
from blockrank_server.models.checkpoint.weights import tensors
from blockrank_server.models.engine.fused_network import FusedNetwork
from blockrank_server.models.engine.network import Network, Place
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
    glue: Glue | None = None,
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
        glue: makes it a FusedNetwork, which has no backward pass.

    Raises:
        CheckpointError: a file is missing or broken; a tensor is missing, unexpected, of another
            shape than the config says, or of one that cannot be quantized; or the adapter is that
            of another network.
    """
    with torch.device("meta"):
        network = FusedNetwork(config, last_layer, glue) if glue else Network(config, last_layer)
    places = {_PREFIX + name: place for name, place in network.places().items()}
    if adapter is not None:
        adapter.check({name: place.shape for name, place in places.items()})
    to_quantize = {f"{name}.weight" for name in linear_names(network, quantization)}
    missing = set(places)
    parts_left = Counter(place.parameter for place in places.values())
    for path, name, tensor in tensors(folder, last_layer):
        if name not in places:
            raise CheckpointError(f"{path} holds the unexpected tensor {name!r}")
        place = places[name]
        if tensor.shape != place.shape:
            raise CheckpointError(
                f"{path}: {name} is {list(tensor.shape)}, the config says {list(place.shape)}"
            )
        whole = tensor if adapter is None else adapter.merged(name, tensor)
        _place(network, place, whole, device, dtype)
        parts_left[place.parameter] -= name in missing
        missing.discard(name)
        if place.parameter in to_quantize and not parts_left[place.parameter]:
            quantize_linear(network, place.parameter.removesuffix(".weight"), quantization)
    if missing:
        raise CheckpointError(f"{folder} lacks {len(missing)} tensors, among them {min(missing)!r}")
    network.restore_rotary(device)
    return network.requires_grad_(False).eval()


def _place(
    network: Network, place: Place, tensor: torch.Tensor, device: torch.device, dtype: torch.dtype
) -> None:
    """Make a tensor a parameter of the network, or the rows of one that are its own."""
    module, _, name = place.parameter.rpartition(".")
    owner = network.get_submodule(module)
    there: nn.Parameter = getattr(owner, name)
    if there.shape == tensor.shape:
        moved = tensor.to(device, dtype, copy=True)
        setattr(owner, name, nn.Parameter(moved, requires_grad=False))
        return
    if there.is_meta:
        there = nn.Parameter(torch.empty(there.shape, device=device, dtype=dtype), False)
        setattr(owner, name, there)
    rows = slice(place.start, place.start + (len(tensor) if tensor.ndim == there.ndim else 1))
    there[rows].copy_(tensor)
