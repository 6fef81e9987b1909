"""The memory estimate against what is really there: the weights, the CPU allocator's peak."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import CONFIG_MAPPING, PretrainedConfig

from blockrank_server.models import ranker as ranker_module
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.memory import MemoryNeed, check_memory, free_bytes
from blockrank_server.models.network import Network
from blockrank_server.models.ranker import Ranker
from blockrank_server.models.reading import Reader

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


@pytest.mark.parametrize("last_layer", [0, 2])
@pytest.mark.parametrize("name", SHAPES)
def test_weights_are_counted_exactly(name: str, last_layer: int) -> None:
    need = MemoryNeed.of(config_of(name), last_layer, torch.bfloat16)
    with torch.device("meta"):
        network = Network(config_of(name), last_layer)
    assert need.weights == 2 * sum(tensor.numel() for tensor in network.parameters())


class NothingRead:
    """Stands in for a Reader: what it keeps is small next to a layer's activations."""

    def __init__(self) -> None:
        self.signal_R = torch.tensor([0])

    def reads(self, _: int) -> bool:
        return False

    def read(self, *_: object) -> None: ...


def peak_bytes(events: Iterator[Any]) -> int:
    """Most bytes allocated at a time, by the profiler's log of allocations and releases."""
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"intermediate_size": 448}, id="mlp"),
        pytest.param({"intermediate_size": 32, "hidden_size": 512}, id="norm"),
        pytest.param({"intermediate_size": 32, "num_attention_heads": 32}, id="rotary"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_batch_takes_what_was_estimated(dtype: torch.dtype, changes: dict[str, int]) -> None:
    num_tokens, config = 500, config_of("mistral", **({"hidden_size": 128} | changes))
    need = MemoryNeed.of(config, 2, dtype)
    network = Network(config, 2).to(dtype)
    ids, reader = torch.zeros(num_tokens, dtype=torch.int32), cast(Reader, NothingRead())
    with (
        torch.inference_mode(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found,
    ):
        network(ids, ids, lambda q, k, v, scale: torch.empty_like(q), reader)
    results: Any = found.profiler
    measured = peak_bytes(results.kineto_results.events())
    assert 0.75 * need.per_token <= measured / num_tokens <= need.per_token


def test_tokens_that_fit_and_their_bytes_agree() -> None:
    need = MemoryNeed(weights=9 * GIB, per_token=100_000)
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


def test_a_ranker_says_what_fits_and_refuses_what_does_not(
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert open_tiny("blockrank", blockrank_card).info.max_batch_tokens is None
    monkeypatch.setattr(ranker_module, "free_bytes", lambda _: GIB)
    info = open_tiny("blockrank", blockrank_card).info
    assert info.weight_bytes == 4 * sum(
        p.numel() for p in open_tiny("blockrank", blockrank_card)._engine._network.parameters()
    )
    assert info.max_batch_tokens is not None
    with pytest.raises(CheckpointError, match=f"{info.max_batch_tokens} tokens fit"):
        open_tiny("blockrank", blockrank_card, max_batch_tokens=info.max_batch_tokens + 1)
