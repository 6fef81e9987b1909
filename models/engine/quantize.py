"""Puts a network's linear layers in fewer bits.

The read layer's projections, or the head's rows, keep theirs: they are the score, and next to none
of the work.
"""

from collections.abc import Callable, Collection, Mapping
from typing import cast, get_args

import torch
from torch import nn

from blockrank_server.models.engine.network import Network
from blockrank_server.models.engine.processor import has_int8_products
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.quantization.dynamic_int8 import DynamicInt8Linear
from blockrank_server.models.quantization.fp8 import Fp8Linear, probe
from blockrank_server.models.quantization.names import Quantization
from blockrank_server.models.quantization.weight_only import GROUP_SIZE, Int4Linear, Int8Linear

_FP8_CAPABILITY = (8, 9)
_ADA = (8, 9)
_LAYERS: Mapping[Quantization, Callable[[nn.Linear], nn.Module]] = {
    "fp8": Fp8Linear,
    "dynamic_int8": DynamicInt8Linear,
    "int8": Int8Linear,
    "int4": Int4Linear,
}


def check_quantization(how: str, device: torch.device, dtype: torch.dtype) -> Quantization:
    """Refuse what this device cannot do, before weights are loaded.

    Raises:
        CheckpointError: and says what is needed.
    """
    if how not in get_args(Quantization):
        raise CheckpointError(
            f"quantization {how!r} is not one of {', '.join(get_args(Quantization))}"
        )
    if how == "fp8" and not (
        dtype == torch.bfloat16
        and device.type == "cuda"
        and torch.cuda.get_device_capability(device) >= _FP8_CAPABILITY
    ):
        raise CheckpointError(
            "quantization fp8 needs bfloat16 on a CUDA device of compute capability 8.9 or newer, "
            f"got {str(dtype).removeprefix('torch.')} on {device}"
        )
    if how == "fp8":
        _check_fp8_products(device)
    if how == "dynamic_int8" and not (device.type == "cpu" and has_int8_products()):
        raise CheckpointError(
            "quantization dynamic_int8 needs a processor with AVX-512 VNNI or AMX"
            + (f", the model runs on {device}" if device.type != "cpu" else "")
        )
    return cast(Quantization, how)


def _check_fp8_products(device: torch.device) -> None:
    """Refuse a device whose float8 products fail, hang or are wrong, by one product."""
    # It would hang there instead of failing (pytorch#177651).
    if torch.cuda.get_device_capability(device) == _ADA and _torch_version() < (2, 12):
        raise CheckpointError(
            f"quantization fp8 needs torch 2.12 or newer on compute capability 8.9, {device} "
            f"runs torch {torch.__version__}"
        )
    if (fault := probe(device)) is not None:
        raise CheckpointError(f"{device} refuses a product in fp8: {fault}; use bfloat16 or int8")


def _torch_version() -> tuple[int, ...]:
    return tuple(map(int, torch.__version__.split(".")[:2]))


def linear_names(network: Network, how: Quantization, kept: Collection[str] = ()) -> list[str]:
    """Name the linear layers to replace: all of the whole layers but those kept, or none.

    Raises:
        CheckpointError: the network has no layer of a kept name.
    """
    if how == "none":
        return []
    read = "lm_head" if network.has_head else f"layers.{len(network.layers) - 1}."
    names = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(read)
    ]
    if unknown := sorted(set(kept) - set(names)):
        raise CheckpointError(
            f"the card keeps the linear layer {unknown[0]!r} as it is, the network has "
            f"{', '.join(names[:4])}, ..."
        )
    return [name for name in names if name not in kept]


def quantize_linear(network: Network, name: str, how: Quantization) -> None:
    """Replace one linear layer, in place.

    Args:
        network: has the weight of that layer on the device, with adapters merged.
        name: is one of linear_names.
        how: is not "none".

    Raises:
        CheckpointError: the weight has a size that cannot be quantized.
    """
    linear = network.get_submodule(name)
    assert isinstance(linear, nn.Linear)
    try:
        network.set_submodule(name, _LAYERS[how](linear))
    except ValueError as error:
        raise CheckpointError(f"quantization {how}, {name}: {error}") from error


def quantize(network: Network, how: Quantization, kept: Collection[str] = ()) -> None:
    """Replace every layer of linear_names, in place."""
    for name in linear_names(network, how, kept):
        quantize_linear(network, name, how)


def weight_bytes(how: Quantization, num_outputs: int, num_inputs: int, itemsize: int) -> int:
    """Count the bytes that one linear layer's weight and its scales take on the device.

    Args:
        itemsize: bytes of the dtype of weights and activations.
    """
    num_weights = num_outputs * num_inputs
    match how:
        case "none":
            return num_weights * itemsize
        case "fp8" | "dynamic_int8":
            return num_weights + num_outputs * torch.float32.itemsize
        case "int8":
            return num_weights + num_outputs * itemsize
        case "int4":
            return num_weights // 2 + 2 * num_weights // GROUP_SIZE * itemsize


def scratch_bytes(how: Quantization, num_weights: int, itemsize: int) -> int:
    """Count the bytes that a linear layer takes in a call, besides its activations.

    They hold the whole weight, and in 4 bits its steps, a byte each.
    """
    match how:
        case "none" | "fp8" | "dynamic_int8":
            return 0
        case "int8":
            return num_weights * itemsize
        case "int4":
            return num_weights * (itemsize + 1)
