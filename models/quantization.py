"""Linear layers in fewer bits: an option, never chosen by itself.

The read layer's projections keep theirs: they are the score, and next to none of the work.
"""

from typing import Literal, cast, get_args

import torch
from torch import nn

from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.fp8 import Fp8Linear
from blockrank_server.models.network import Network

Quantization = Literal["none", "fp8"]
_FP8_CAPABILITY = (8, 9)


def check_quantization(how: str, device: torch.device, dtype: torch.dtype) -> Quantization:
    """Refuse what this device cannot do, before weights are loaded.

    Raises:
        CheckpointError: saying what is needed.
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
    return cast(Quantization, how)


def quantize(network: Network, how: Quantization) -> None:
    """Replace the linear layers below the read layer, in place.

    Args:
        network: bfloat16, with its weights on the device and adapters merged.
        how: as check_quantization returned it.

    Raises:
        CheckpointError: a weight has a size that cannot be quantized.
    """
    if how == "none":
        return
    for parent in list(network.layers[:-1].modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                try:
                    setattr(parent, name, Fp8Linear(child))
                except ValueError as error:
                    raise CheckpointError(f"quantization fp8, {name}: {error}") from error
