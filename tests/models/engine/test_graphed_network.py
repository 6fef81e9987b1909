"""The pieces of a network that are captured: what they give for every family, and in float8."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import CONFIG_MAPPING, PretrainedConfig

from blockrank_server.kernels.backend import TORCH_BACKEND, Backend, triton_backend
from blockrank_server.kernels.segments import Segment
from blockrank_server.models.engine.cuda_graphs import BUCKETS, Buffers
from blockrank_server.models.engine.fused_network import FusedNetwork
from blockrank_server.models.engine.loading import load_network
from blockrank_server.models.engine.memory import MemoryNeed
from blockrank_server.models.engine.network import Network
from blockrank_server.models.quantization.names import Quantization

LAST_LAYER = 3


def config_of(name: str) -> PretrainedConfig:
    fields = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "head_dim": 16}
    fields |= {"num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = CONFIG_MAPPING[name].from_dict(fields | {"initializer_range": 0.3})
    config.sliding_window = None
    return config


@pytest.mark.parametrize(
    ("name", "dtype", "how", "backend"),
    [
        ("qwen3", torch.float32, "none", TORCH_BACKEND),
        ("qwen3", torch.float32, "none", triton_backend()),
        ("qwen2", torch.float32, "none", TORCH_BACKEND),
        ("mistral", torch.bfloat16, "none", TORCH_BACKEND),
        ("mistral", torch.bfloat16, "fp8", TORCH_BACKEND),
    ],
)
def test_every_family_and_float8_give_what_they_give_without_graphs(
    name: str, dtype: torch.dtype, how: Quantization, backend: Backend, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    state = Network(config_of(name), LAST_LAYER).state_dict()
    tensors = {
        f"model.{key}": torch.randn_like(tensor) * 0.3 + (tensor.ndim == 1 and "norm" in key)
        for key, tensor in state.items()
    }
    save_file(tensors, tmp_path / "model.safetensors")
    network = load_network(
        *(tmp_path, config_of(name), LAST_LAYER, torch.device("cpu"), dtype),
        quantization=how,
        glue=backend.glue,
    )
    assert isinstance(network, FusedNetwork)
    assert network.takes_fp8 == (how == "fp8")
    token_ids = torch.arange(70) * 7 % 64

    def keys_read(num_tokens: int) -> torch.Tensor:
        """The keys of the read layer, of causal attention."""
        plan = backend.plan_block_attention([Segment(0, num_tokens)], num_tokens, cpu)
        attend = backend.block_attention_fp8 if how == "fp8" else backend.block_attention
        reader = Reads(num_tokens)
        with torch.inference_mode():
            network(
                token_ids[:num_tokens],
                torch.arange(num_tokens),
                lambda q, k, v, scale: attend(q, k, v, plan, scale),
                reader,
            )
        return reader.keys.float()

    cpu = torch.device("cpu")
    lengths = (70, 33, 32, 31, 1)
    expected = [keys_read(num_tokens) for num_tokens in lengths]
    works: list[Callable[[], None]] = []

    def capture(work: Callable[[], None]) -> Callable[[], None]:
        works.append(work)
        return work

    with torch.inference_mode():
        network.capture(capture, (32, 64, 96))
    for num_tokens, keys in zip(lengths, expected, strict=True):
        found = keys_read(num_tokens)
        if dtype == torch.float32:
            torch.testing.assert_close(found, keys, rtol=1e-4, atol=1e-4)
        else:  # another number of rows may be summed in another order
            assert (found - keys).norm() <= 0.02 * keys.norm()
    assert len(works) == 3 * (LAST_LAYER + 1)


class Reads:
    """Keeps the keys of the read layer."""

    def __init__(self, num_tokens: int) -> None:
        self.signal_R = torch.tensor([num_tokens - 1])
        self.keys = torch.empty(0)

    def reads(self, layer: int) -> bool:
        return layer == LAST_LAYER

    def read(self, _: int, __: torch.Tensor, k_TKD: torch.Tensor, ___: float) -> None:
        self.keys = k_TKD.clone()


@pytest.mark.parametrize("how", ["none", "fp8"])
@pytest.mark.parametrize("name", ["qwen3", "mistral"])
def test_the_memory_of_graphs_is_counted(name: str, how: Quantization) -> None:
    """Buffers, and what the largest bucket takes at the worst moment; drivers and cuBLAS beside."""
    config, dtype = config_of(name), torch.bfloat16
    without, need = (
        MemoryNeed.of(config, LAST_LAYER, dtype, how, has_graphs=has_graphs)
        for has_graphs in (False, True)
    )
    assert without.graphs == 0
    heads = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    buffers = Buffers.zeros(
        *(BUCKETS[-1], config.hidden_size, heads),
        device=torch.device("cpu"),
        dtype=dtype,
        is_fp8=how == "fp8",
    )
    attention = buffers.attention_TX
    parts = [attention] if isinstance(attention, torch.Tensor) else [*attention]
    hidden, cos, sin, heads_ThD = (buffers.hidden_TC, buffers.cos_TD, buffers.sin_TD, buffers[4])
    held = sum(x.nbytes for x in (hidden, cos, sin, heads_ThD, *parts))
    beside = need.graphs - held - 1.1 * BUCKETS[-1] * need.per_token
    assert 64 * 2**20 <= beside <= 2**26 + len(BUCKETS) * (LAST_LAYER + 1) * 2**19
    assert need.batch(7) - without.batch(7) == need.graphs
    assert need.max_tokens(2**36) < without.max_tokens(2**36)
