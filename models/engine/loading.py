"""Loads a checkpoint's tensors into the network: all that it keeps, and no unknown one.

Each is merged, moved and quantized before the next is read, so that the device never holds more
than the weights as they are kept and a part of one layer. Tensors that stand in one parameter are
quantized when the last of them is there.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import PretrainedConfig

from blockrank_server.kernels.glue import Glue
from blockrank_server.models.checkpoint.adapter import Adapter
from blockrank_server.models.checkpoint.weights import DECODER, HEAD, tensors
from blockrank_server.models.engine.fused_network import SLICE_TOKENS, FusedNetwork
from blockrank_server.models.engine.network import Network, Place
from blockrank_server.models.engine.quantize import linear_names, quantize_linear
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.quantization.names import Quantization


def load_network(  # noqa: PLR0913 - what is loaded, where to, and how it is changed
    folder: Path,
    config: PretrainedConfig,
    last_layer: int | None,
    device: torch.device,
    dtype: torch.dtype,
    *,
    quantization: Quantization = "none",
    kept: Collection[str] = (),
    adapter: Adapter | None = None,
    glue: Glue | None = None,
    head_rows: Sequence[int] = (),
) -> Network:
    """Make the network with its weights, ready to score.

    Args:
        folder: holds model.safetensors, or shards and their index. Tensors are named as a causal
            language model saves them (model.layers.0...) or as AutoModel does (layers.0...).
        config: must be that of the checkpoint.
        last_layer: 0-based, the last read layer; None loads every layer, norm and head.
        device: gets the weights.
        dtype: is what the weights are converted to.
        quantization: is for the linear layers of whole layers; as check_quantization returns.
        kept: names those of them that stay as they are.
        adapter: is added to the weights before they are quantized.
        glue: makes it a FusedNetwork, which has no backward pass.
        head_rows: the tokens no and yes, where last_layer is None.

    Raises:
        CheckpointError: a file is missing or broken; a tensor is missing, unexpected, of another
            shape than the config says, or of one that cannot be quantized; or the adapter is that
            of another network.
    """
    with torch.device("meta"):
        network = _network(config, last_layer, glue, device)
    places = network.places()
    is_tied = network.has_head and config.tie_word_embeddings
    if is_tied:
        del places[HEAD]
    if adapter is not None:
        adapter.check({name: place.shape for name, place in places.items()})
    to_quantize = {f"{name}.weight" for name in linear_names(network, quantization, kept)}
    spelled: dict[str, str] = {}
    parts_left = Counter(place.parameter for place in places.values())
    for path, name, tensor in tensors(folder, last_layer, head_rows):
        bare = name.removeprefix(DECODER)
        if is_tied and bare == HEAD:  # the embedding, stored twice
            continue
        place = _check_tensor(path, name, tensor, places.get(bare), spelled.get(bare))
        spelled[bare] = name
        whole = tensor if adapter is None else adapter.merged(bare, tensor)
        _place(network, place, whole, device, dtype)
        parts_left[place.parameter] -= 1
        if place.parameter in to_quantize and not parts_left[place.parameter]:
            quantize_linear(network, place.parameter.removesuffix(".weight"), quantization)
    _check_none_missing(folder, places, spelled, last_layer)
    if is_tied:
        network.lm_head.weight = nn.Parameter(network.embed_tokens.weight[list(head_rows)], False)
    network.restore_rotary(device)
    return network.requires_grad_(False).eval()


def _network(
    config: PretrainedConfig, last_layer: int | None, glue: Glue | None, device: torch.device
) -> Network:
    if glue is None:
        return Network(config, last_layer)
    return FusedNetwork(config, last_layer, glue, SLICE_TOKENS if device.type == "cpu" else None)


def _check_tensor(
    path: Path, name: str, tensor: torch.Tensor, place: Place | None, before: str | None
) -> Place:
    if place is None:
        raise CheckpointError(f"{path} holds the unexpected tensor {name!r}")
    if before is not None:
        raise CheckpointError(f"{path} holds {name!r}, which was read as {before!r} already")
    if tensor.shape != place.shape:
        raise CheckpointError(
            f"{path}: {name} is {list(tensor.shape)}, the config says {list(place.shape)}"
        )
    return place


def _check_none_missing(
    folder: Path, places: Collection[str], spelled: Mapping[str, str], last_layer: int | None
) -> None:
    """Refuse a folder that lacks tensors, and name the lowest layer's first as it spells them."""
    missing = sorted((name for name in places if name not in spelled), key=_by_layer)
    if missing:
        is_bare = any(bare == name != HEAD for bare, name in spelled.items())
        first = missing[0] if is_bare or missing[0] == HEAD else DECODER + missing[0]
        need = f"layers 0 to {last_layer} need" if last_layer is not None else "a verdict needs"
        raise CheckpointError(
            f"{folder} lacks {len(missing)} of the {len(places)} tensors that {need}; the first is "
            f"{first!r}"
        )


def _by_layer(name: str) -> tuple[int, str]:
    """Sort the embedding before layer 2, and that before layer 10."""
    layer = name.removeprefix("layers.").partition(".")[0]
    return (int(layer) if layer.isdecimal() else -1, name)


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
