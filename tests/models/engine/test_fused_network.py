"""The network with few launches: the scores of transformers' modules, and how many launches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import CONFIG_MAPPING, PretrainedConfig

from blockrank_server.kernels.backend import TORCH_BACKEND, Backend, triton_backend
from blockrank_server.kernels.segments import Segment
from blockrank_server.kernels.span_lse import SpanRead
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.engine.attention_reader import AttentionReader
from blockrank_server.models.engine.engine import Engine
from blockrank_server.models.engine.fused_network import FusedNetwork
from blockrank_server.models.engine.loading import load_network
from blockrank_server.models.engine.network import Network
from blockrank_server.models.engine.packing import PackedBatch
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.quantization.names import Quantization

CPU, META = torch.device("cpu"), torch.device("meta")
LAST_LAYER = 3
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama-biased": {"attention_bias": True, "mlp_bias": True},
    "mistral": {"sliding_window": None},
    "qwen2": {},
    "qwen3": {},
}


def config_of(name: str, **changes: Any) -> PretrainedConfig:
    fields = {
        "vocab_size": 50,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "initializer_range": 0.3,
    }
    return CONFIG_MAPPING[name.partition("-")[0]].from_dict(fields | FAMILIES[name] | changes)


@pytest.fixture
def card(qrranker_card: dict[str, Any]) -> Card:
    """It reads a whole layer on the way, and the last."""
    read = [{"layer": 1, "heads": [3, 0]}, {"layer": LAST_LAYER, "heads": [2, 1]}]
    return Card.model_validate(qrranker_card | {"read": read, "normalise_over": "documents"})


def write(folder: Path, of: PretrainedConfig) -> None:
    """Save weights whose every norm and bias counts."""
    torch.manual_seed(0)
    network = Network(of, LAST_LAYER)
    tensors = {
        f"model.{name}": torch.randn_like(tensor) * 0.3 + (tensor.ndim == 1 and "norm" in name)
        for name, tensor in network.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors")


def batch() -> PackedBatch:
    """One request of a prefix, two documents and a tail with two signal tokens; one of a tail."""
    segments = Segment(0, 3), Segment(3, 8, ((0, 3),)), Segment(8, 10, ((0, 3),))
    return PackedBatch(
        token_ids=np.arange(18, dtype=np.int32) * 7 % 50,
        position_ids=np.array([0, 1, 2, 3, 4, 5, 6, 7, 3, 4, 90, 91, 92, 93, 0, 1, 2, 3], np.int32),
        segments=(*segments, Segment(10, 14, ((0, 10),)), Segment(14, 18)),
        reads=(SpanRead((12, 14), ((3, 8), (8, 10))), SpanRead((17, 18), ((14, 16),))),
        num_documents=(2, 1),
    )


@torch.inference_mode()
def masses(network: Network, card: Card, backend: Backend) -> list[torch.Tensor]:
    reader = Engine(network, card, CPU, backend).forward(batch())
    assert isinstance(reader, AttentionReader)
    return [mass for layers in reader.masses() for mass in layers]


@pytest.mark.parametrize("backend", [TORCH_BACKEND, triton_backend()], ids=["torch", "triton"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_reads_what_the_modules_of_transformers_read(
    name: str, backend: Backend, card: Card, tmp_path: Path
) -> None:
    write(tmp_path, config_of(name))
    plain, fused = (
        load_network(tmp_path, config_of(name), LAST_LAYER, CPU, torch.float32, glue=glue)
        for glue in (None, backend.glue)
    )
    assert type(fused) is FusedNetwork
    for found, expected in zip(
        masses(fused, card, backend), masses(plain, card, TORCH_BACKEND), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-6)


def test_bfloat16_is_no_further_off_than_the_modules_of_transformers(
    card: Card, tmp_path: Path
) -> None:
    write(tmp_path, config_of("mistral"))
    exact, plain, fused = (
        torch.cat(
            [
                mass.flatten()
                for mass in masses(
                    load_network(tmp_path, config_of("mistral"), LAST_LAYER, CPU, dtype, glue=glue),
                    card,
                    TORCH_BACKEND,
                )
            ]
        )
        for dtype, glue in (
            (torch.float32, None),
            (torch.bfloat16, None),
            (torch.bfloat16, TORCH_BACKEND.glue),
        )
    )
    assert (fused - exact).norm() <= 1.5 * (plain - exact).norm()


@pytest.mark.parametrize("how", ["fp8", "int8", "int4"])
def test_merged_weights_are_quantized_as_single_ones_are(
    how: Quantization, card: Card, tmp_path: Path
) -> None:
    """Rows have scales of their own, so what a row shares its matrix with does not matter."""
    write(tmp_path, config_of("qwen2"))
    plain, fused = (
        load_network(
            *(tmp_path, config_of("qwen2"), LAST_LAYER, CPU, torch.bfloat16),
            quantization=how,
            glue=glue,
        )
        for glue in (None, TORCH_BACKEND.glue)
    )
    kept = {name: tensor.float() for name, tensor in fused.state_dict().items()}
    for layer in range(LAST_LAYER):
        for block, merged, parts in (
            ("self_attn", "qkv_proj", ("q_proj", "k_proj", "v_proj")),
            ("mlp", "gate_up_proj", ("gate_proj", "up_proj")),
        ):
            for kind in plain.get_submodule(f"layers.{layer}.{block}.{parts[0]}").state_dict():
                each = [plain.state_dict()[f"layers.{layer}.{block}.{p}.{kind}"] for p in parts]
                together = torch.cat([x.float() for x in each], 1 if kind.endswith("1N") else 0)
                assert torch.equal(kept[f"layers.{layer}.{block}.{merged}.{kind}"], together)
    found, expected = (
        torch.cat([mass.flatten() for mass in masses(network, card, TORCH_BACKEND)])
        for network in (fused, plain)
    )
    assert (found - expected).norm() <= 0.1 * expected.norm()


def test_another_activation_is_refused() -> None:
    with pytest.raises(CheckpointError, match="hidden_act 'gelu' is not supported, only silu"):
        FusedNetwork(config_of("llama", hidden_act="gelu"), 1, TORCH_BACKEND.glue)
