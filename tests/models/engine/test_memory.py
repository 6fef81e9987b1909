"""The memory estimate against what is really there: the weights, the CPU allocator's peak."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast, get_args

import pytest
import torch
from transformers import CONFIG_MAPPING, PretrainedConfig

from blockrank_server.kernels.backend import TORCH_BACKEND, triton_backend
from blockrank_server.kernels.segments import Segment
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.engine import memory_plan
from blockrank_server.models.engine.attention_reader import AttentionReader
from blockrank_server.models.engine.fused_network import FusedNetwork
from blockrank_server.models.engine.memory import MemoryNeed, check_memory, free_bytes
from blockrank_server.models.engine.memory_plan import MemoryPlan
from blockrank_server.models.engine.network import Network
from blockrank_server.models.engine.placement import Placement
from blockrank_server.models.engine.quantize import quantize
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.quantization import fp8
from blockrank_server.models.quantization.names import Quantization
from blockrank_server.models.ranker import Ranker

PeakBytes = Callable[[Callable[[], object]], int]
GIB = 2**30
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"head_dim": 16},
    "llama-biased": {"head_dim": 8, "attention_bias": True, "mlp_bias": True},
    "mistral": {"head_dim": 16, "sliding_window": None},
    "qwen2": {},
    "qwen3": {"head_dim": 32},
}


def config_of(name: str, **changes: int) -> PretrainedConfig:
    family = name.partition("-")[0]
    fields = {
        "vocab_size": 50,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    return CONFIG_MAPPING[family].from_dict(fields | SHAPES[name] | changes)


def held_bytes(network: Network) -> int:
    return sum(tensor.nbytes for tensor in network.state_dict().values())


@pytest.mark.parametrize("last_layer", [0, 2])
@pytest.mark.parametrize("how", get_args(Quantization))
@pytest.mark.parametrize("name", SHAPES)
def test_weights_are_counted_exactly(name: str, how: Quantization, last_layer: int) -> None:
    for dtype in (torch.bfloat16,) if how == "fp8" else (torch.bfloat16, torch.float32):
        need = MemoryNeed.of(config_of(name), last_layer, dtype, how)
        for network in (
            Network(config_of(name), last_layer),
            FusedNetwork(config_of(name), last_layer, TORCH_BACKEND.glue),
        ):
            quantize(network.to(dtype), how)
            assert need.weights == held_bytes(network)


@pytest.mark.parametrize(("how", "kept_bits"), [("none", 16), ("fp8", 8), ("int8", 8), ("int4", 5)])
def test_quantized_weights_take_their_bits(how: Quantization, kept_bits: int) -> None:
    """The scales of rows are a thousandth of one layer of Mistral-7B."""
    sizes = {"hidden_size": 4096, "intermediate_size": 14_336, "num_attention_heads": 32}
    config = config_of("mistral", **sizes, num_key_value_heads=8, head_dim=128)
    one, two = (MemoryNeed.of(config, last, torch.bfloat16, how).weights for last in (1, 2))
    assert 8 * (two - one) == pytest.approx(218_112_000 * kept_bits, rel=0.002)


class NothingRead:
    """Stands in for an AttentionReader: what it keeps is small next to a layer's activations."""

    def __init__(self) -> None:
        self.signal_R = torch.tensor([0])

    def reads(self, _: int) -> bool:
        return False

    def read(self, *_: object) -> None: ...


def batch_of(network: Network, num_tokens: int) -> Callable[[], None]:
    """A forward pass of so many tokens, its kernels without their work but with their memory."""
    ids, reader = torch.zeros(num_tokens, dtype=torch.int32), cast(AttentionReader, NothingRead())
    backend = triton_backend()
    plan = backend.plan_block_attention([Segment(0, num_tokens)], num_tokens, ids.device)
    attend: Any = backend.block_attention_fp8 if network.takes_fp8 else backend.block_attention

    @torch.inference_mode()
    def run() -> None:
        network(ids, ids, lambda q, k, v, scale: attend(q, k, v, plan, scale), reader)

    return run


def fused(config: PretrainedConfig, dtype: torch.dtype, how: Quantization) -> FusedNetwork:
    network = FusedNetwork(config, 2, triton_backend().glue).to(dtype)
    quantize(network, how)
    return network


@pytest.mark.usefixtures("kernel_launches")
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"intermediate_size": 448}, id="mlp"),
        pytest.param({"intermediate_size": 32, "hidden_size": 512}, id="norm"),
        pytest.param({"intermediate_size": 32, "num_attention_heads": 32}, id="attention"),
    ],
)
@pytest.mark.parametrize(
    ("dtype", "how"),
    [(torch.float32, "none"), (torch.bfloat16, "none"), (torch.bfloat16, "fp8")],
    ids=str,
)
def test_a_batch_takes_what_was_estimated(
    dtype: torch.dtype,
    how: Quantization,
    changes: dict[str, int],
    peak_bytes: PeakBytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The CPU multiplies float8 in fp32, with memory for that.
    monkeypatch.setattr(
        fp8, "multiply", lambda x, w, _: torch.empty(len(x[0]), len(w[0]), dtype=torch.bfloat16)
    )
    num_tokens, config = 512, config_of("mistral", **({"hidden_size": 128} | changes))
    need = MemoryNeed.of(config, 2, dtype, how)
    measured = peak_bytes(batch_of(fused(config, dtype, how), num_tokens))
    assert 0.85 * need.per_token <= measured / num_tokens <= 1.02 * need.per_token


@pytest.mark.usefixtures("kernel_launches")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("how", ["int8", "int4"])
def test_a_quantized_batch_takes_what_was_estimated(
    how: Quantization, dtype: torch.dtype, peak_bytes: PeakBytes
) -> None:
    config = config_of("mistral", intermediate_size=4096, hidden_size=512)
    need = MemoryNeed.of(config, 2, dtype, how)
    measured = peak_bytes(batch_of(fused(config, dtype, how), 1))
    # The CPU converts the integers before it multiplies, CUDA while it does.
    converted = 2 * 512 * 4096 * dtype.itemsize
    assert need.scratch + converted <= measured <= 1.05 * (need.scratch + converted)
    assert need.batch(0) - MemoryNeed.of(config, 2, dtype, "none").batch(0) == need.scratch


@pytest.mark.parametrize("scratch", [0, GIB])
def test_tokens_that_fit_and_their_bytes_agree(scratch: int) -> None:
    need = MemoryNeed(weights=9 * GIB, per_token=100_000, scratch=scratch)
    fits = need.max_tokens(40 * GIB)
    assert need.weights + need.batch(fits) <= 40 * GIB < need.weights + need.batch(fits + 1)


def test_the_cpu_is_not_checked() -> None:
    assert free_bytes(torch.device("cpu")) is None
    assert check_memory(MemoryNeed(10**18, 10**9), None, 10**9) is None


def test_weights_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(CheckpointError, match=r"weights need 9\.00 GiB .* has 8\.00 GiB free"):
        check_memory(MemoryNeed(9 * GIB, 100_000), 8 * GIB, None)


def test_a_batch_that_does_not_fit_is_an_error_that_says_what_does() -> None:
    need = MemoryNeed(9 * GIB, 100_000)
    fits = need.max_tokens(10 * GIB)
    assert check_memory(need, 10 * GIB, fits) == fits
    with pytest.raises(
        CheckpointError, match=f"a batch of {fits + 1} tokens .*: {fits} tokens fit"
    ):
        check_memory(need, 10 * GIB, fits + 1)


@pytest.mark.parametrize("how", ["none", "int8", "int4"])
def test_a_ranker_says_what_fits_and_refuses_what_does_not(
    how: str,
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_ = partial(open_tiny, "blockrank", blockrank_card, quantization=how)
    assert open_().info.max_batch_tokens is None
    monkeypatch.setattr(memory_plan, "free_bytes", lambda _: GIB)
    ranker = open_()
    info = ranker.info
    assert info.weight_bytes == held_bytes(ranker._engine._network)
    assert info.max_batch_tokens is not None
    with pytest.raises(CheckpointError, match=f"{info.max_batch_tokens} tokens fit"):
        open_(max_batch_tokens=info.max_batch_tokens + 1)


def test_a_plan_leaves_room_for_graphs(
    blockrank_card: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_plan, "free_bytes", lambda _: GIB)
    card = Card.model_validate(blockrank_card | {"read": [{"layer": 2, "heads": "all"}]})
    placement = Placement.choose("cpu", "float32", "none")
    without, plan = (
        MemoryPlan.of(config_of("mistral"), card, placed, 0, None)
        for placed in (placement, placement._replace(has_graphs=True))
    )
    assert without.cuda_graph_bytes == 0
    assert without.max_batch_tokens is not None
    assert plan.max_batch_tokens is not None
    per_token = MemoryNeed.of(config_of("mistral"), 2, torch.float32, "none").per_token
    fewer = without.max_batch_tokens - plan.max_batch_tokens
    assert fewer == pytest.approx(plan.cuda_graph_bytes / (1.1 * per_token), abs=1)
