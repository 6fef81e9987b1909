"""Decides once, when a ranker is opened, where it runs and how: device, dtype, kernels, bits."""

from typing import Literal, NamedTuple, Self, TypedDict

import torch

from blockrank_server.kernels.backend import Backend, choose_backend
from blockrank_server.models.checkpoint.any_card import PackedCard
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.engine.cuda_graphs import can_capture
from blockrank_server.models.engine.processor import has_bfloat16_products, has_int8_products
from blockrank_server.models.engine.quantize import check_quantization
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.quantization.names import Quantization

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class PlacementNames(TypedDict):
    """Spells a placement as text, for people and metrics."""

    device: str
    dtype: str
    attention: Literal["torch", "triton"]
    quantization: Quantization


class Placement(NamedTuple):
    """Holds device, dtype of weights and activations, kernels, and bits of the linear layers.

    Attributes:
        has_graphs: small batches run as CUDA graphs.
    """

    device: torch.device
    dtype: torch.dtype
    backend: Backend
    quantization: Quantization
    has_graphs: bool = False

    @classmethod
    def choose(
        cls,
        device: str,
        dtype: str,
        quantization: str,
        card: PackedCard | None = None,
        cuda_graphs: str = "auto",
    ) -> Self:
        """Choose by name; auto takes what is fast there, and costs no quality that was measured.

        Args:
            device: auto is CUDA where there is one.
            dtype: auto is bfloat16 on CUDA and on a processor that multiplies it fast.
            quantization: auto is dynamic_int8 on a processor that multiplies bytes fast, if that
                was measured for the card, and none elsewhere.
            card: says whether it was.
            cuda_graphs: auto runs small batches as graphs on CUDA, where weights are not int8 or
                int4; off runs none.

        Raises:
            CheckpointError: this machine has no such device, dtype or quantization.
        """
        where = _device(device)
        try:
            backend = choose_backend(where)
        except (ValueError, RuntimeError) as error:
            raise CheckpointError(str(error)) from error
        kind = _dtype(dtype, where)
        if quantization == "auto":
            is_fast = where.type == "cpu" and has_int8_products()
            is_measured = isinstance(card, Card) and card.int8_kept is not None
            quantization = "dynamic_int8" if is_fast and is_measured else "none"
        how = check_quantization(quantization, where, kind)
        has_graphs = _has_graphs(cuda_graphs, where, how)
        return cls(where, kind, backend, how, has_graphs)

    def names(self) -> PlacementNames:
        """Spell the placement out."""
        return {
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "attention": self.backend.name,
            "quantization": self.quantization,
        }


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise CheckpointError(f"device {name!r} is not one torch knows") from error
    if device.type not in ("cpu", "cuda"):
        raise CheckpointError(f"device {name!r} is not supported, only cpu and cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise CheckpointError(f"device {name!r}: {torch.cuda.device_count()} CUDA devices found")
    return device


def _has_graphs(name: str, device: torch.device, quantization: Quantization) -> bool:
    if name not in ("auto", "off"):
        raise CheckpointError(f"cuda_graphs {name!r} is not one of auto, off")
    return name == "auto" and can_capture(device, quantization)


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        is_fast = device.type == "cuda" or has_bfloat16_products()
        return torch.bfloat16 if is_fast else torch.float32
    if name not in _DTYPES:
        raise CheckpointError(f"dtype {name!r} is not one of auto, {', '.join(_DTYPES)}")
    return _DTYPES[name]
