"""How many kernels a layer of the network with few launches starts, in the shape of Mistral-7B."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import CONFIG_MAPPING

from blockrank_server.kernels.backend import triton_backend
from blockrank_server.kernels.segments import Segment
from blockrank_server.kernels.span_lse import SpanRead
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.engine.engine import Engine
from blockrank_server.models.engine.fused_network import FusedNetwork
from blockrank_server.models.engine.packing import PackedBatch
from blockrank_server.models.engine.quantize import quantize
from blockrank_server.models.quantization.names import Quantization

META = torch.device("meta")


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what would start a kernel on CUDA: operators that are neither views nor memory."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if not (func.is_view or name in ("empty", "empty_like", "_unsafe_view")):
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def launches(kernel_launches: Counter[str]) -> Launches:
    """Counts operators, and the launches of our kernels, which compute nothing here."""
    return Launches(kernel_launches)


def engine_of(num_layers: int, how: Quantization, card: dict[str, Any]) -> Engine:
    """So many whole layers in the shape of Mistral-7B, and the layer that is read."""
    config = CONFIG_MAPPING["mistral"].from_dict(
        {
            "vocab_size": 32_768,
            "hidden_size": 4096,
            "intermediate_size": 14_336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "sliding_window": None,
        }
    )
    backend = triton_backend()
    with META:
        network = FusedNetwork(config, num_layers, backend.glue).to(torch.bfloat16)
    quantize(network, how)
    fields = card | {"read": [{"layer": num_layers, "heads": "all"}]}
    return Engine(network, Card.model_validate(fields), META, backend)


def batch() -> PackedBatch:
    """Two requests of 50 documents, whose tails are split, as they are from some ten on."""
    segments, reads = [], []
    for first in (0, 5170):
        prefix = (first, first + 100)
        documents = [(start, start + 100) for start in range(first + 100, first + 5100, 100)]
        tail = first + 5100, first + 5170
        segments.append(Segment(*prefix))
        segments += [Segment(*span, (prefix,)) for span in documents]
        segments.append(Segment(*tail, ((first, tail[0]),)))
        reads.append(SpanRead((tail[1] - 2, tail[1]), tuple(documents)))
    tokens = np.zeros(segments[-1].stop, np.int32)
    return PackedBatch(tokens, tokens, tuple(segments), tuple(reads), (50, 50))


def counted(launches: Launches, engine: Engine) -> tuple[Counter[str], Counter[str]]:
    """Launches of a forward pass, and of what makes scores of its readings."""
    launches.counts.clear()
    with torch.no_grad(), launches:  # inference mode would show composite operators whole
        reader = engine.forward(batch())
        forward = Counter(launches.counts)
        reader.joined_scores()
    return forward, launches.counts - forward


@pytest.mark.parametrize(("how", "product"), [("none", "mm"), ("fp8", "_scaled_mm")])
def test_a_layer_has_ten_launches(
    how: Quantization, product: str, launches: Launches, blockrank_card: dict[str, Any]
) -> None:
    two, three = (counted(launches, engine_of(n, how, blockrank_card))[0] for n in (2, 3))
    a_layer = three - two
    assert a_layer[product] == 4
    assert a_layer["add_rms_norm_kernel"] == 2
    assert sum(a_layer.values()) <= 10


def test_scores_are_one_launch_and_one_copy(
    launches: Launches, blockrank_card: dict[str, Any]
) -> None:
    _, scores = counted(launches, engine_of(1, "none", blockrank_card))
    assert scores == {"document_scores_kernel": 1, "_to_copy": 1}
