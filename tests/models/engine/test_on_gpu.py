"""The engine on a CUDA device: scores, no hidden waits, nothing compiled after warm-up."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from blockrank_server.kernels import (
    block_attention_fp8_triton,
    block_attention_merge_triton,
    block_attention_triton,
    document_scores_triton,
    glue_triton,
    span_lse_triton,
)
from blockrank_server.kernels.glue import round_rows
from blockrank_server.models.engine.cuda_driver import count_devices
from blockrank_server.models.engine.quantize import scratch_bytes
from blockrank_server.models.quantization.fp8 import Fp8Linear
from blockrank_server.models.quantization.weight_only import (
    Int4Linear,
    Int8Linear,
    WeightOnlyLinear,
)
from blockrank_server.models.ranker import Ranker

pytestmark = pytest.mark.gpu

MODULES = (
    *(block_attention_triton, block_attention_fp8_triton, block_attention_merge_triton),
    *(span_lse_triton, document_scores_triton, glue_triton),
)
KERNELS = [
    kernel
    for module in MODULES
    for name, kernel in vars(module).items()
    if name.endswith("_kernel")
]
CARDS = ("blockrank", "qrranker", "thinned documents")


@pytest.fixture(params=CARDS)
def open_on(
    request: pytest.FixtureRequest,
    blockrank_card: dict[str, Any],
    qrranker_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
) -> Callable[..., Ranker]:
    """Open one of the tiny checkpoints with its card on a device."""
    checkpoint, card = "blockrank", blockrank_card
    if request.param == "qrranker":
        checkpoint, card = "qrranker", qrranker_card
    elif request.param == "thinned documents":
        card |= {"tail_stride": 4, "document_attention": "full"}

    def open_(**options: Any) -> Ranker:
        return open_tiny(checkpoint, card, **options)

    return open_


@pytest.fixture
def no_synchronisation() -> Iterator[Callable[[], None]]:
    """From the call on, whatever waits for the device raises."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


def lists() -> list[tuple[str, list[str]]]:
    words = ["capital", "river", "France", "Paris", "mountain", "rain", "of", "the", "in"]
    random = np.random.default_rng(5)
    return [
        (" ".join(random.choice(words, 4)), [" ".join(random.choice(words, m)) for m in lengths])
        for lengths in ([5, 1, 40], [9] * 70, [300, 2])
    ]


def test_float32_scores_are_those_of_the_cpu(open_on: Callable[..., Ranker]) -> None:
    on_cpu, on_cuda = open_on(), open_on(device="cuda", dtype="float32")
    assert on_cuda.info.attention == "triton"
    for found, expected in zip(
        on_cuda.rank_batch(lists()), on_cpu.rank_batch(lists()), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-3)


def test_bfloat16_is_no_further_off_than_on_the_cpu(
    fixtures: Path, blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    rankers = [
        open_tiny("blockrank", blockrank_card, device=device, dtype="bfloat16")
        for device in ("cpu", "cuda")
    ]
    lines = (fixtures / "blockrank/cases.jsonl").read_text().splitlines()
    names = ("quickstart", "long-query", "unicode", "no-titles", "truncated-at-64")
    off: list[list[float]] = [[], []]
    for case in (c for c in map(json.loads, lines) if c["name"] in names):
        expected = np.array(case["expected"]["scores"])
        for errors, ranker in zip(off, rankers, strict=True):
            found = ranker.rank(case["query"], case["documents"])
            errors.append(float(np.abs(np.array(found) - expected).max()))
    assert np.mean(off[1]) <= 2 * np.mean(off[0])


def test_float8_is_off_by_its_bits(
    fixtures: Path, blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker = open_tiny("blockrank", blockrank_card, device="cuda", quantization="fp8")
    lines = (fixtures / "blockrank/cases.jsonl").read_text().splitlines()
    case = next(c for c in map(json.loads, lines) if c["name"] == "quickstart")
    found, expected = (
        np.array(scores)
        for scores in (ranker.rank(case["query"], case["documents"]), case["expected"]["scores"])
    )
    # As of the CPU's products in test_quantize.py.
    assert 0 < np.abs(found - expected).max() < 0.25 * expected.max()


def test_a_batch_is_started_without_waiting_for_the_device(
    open_on: Callable[..., Ranker], no_synchronisation: Callable[[], None]
) -> None:
    ranker = open_on(device="cuda", dtype="float32")
    ranker.warm_up()
    batch = [ranker.encode(query, documents) for query, documents in lists()]
    no_synchronisation()
    pending = [ranker.start(batch), ranker.start(batch[:1])]
    torch.cuda.set_sync_debug_mode("default")
    assert pending[1].result()[0] == pytest.approx(pending[0].result()[0], abs=1e-5, rel=1e-3)


def test_asking_where_scores_come_from_changes_none_and_waits_for_nothing(
    open_on: Callable[..., Ranker], no_synchronisation: Callable[[], None]
) -> None:
    on_cpu, ranker = open_on(), open_on(device="cuda", dtype="float32")
    ranker.warm_up()
    batch = [ranker.encode(query, documents, explain=True) for query, documents in lists()]
    expected = ranker.score([replace(request, parts=()) for request in batch])
    no_synchronisation()
    pending = ranker.start(batch)
    torch.cuda.set_sync_debug_mode("default")
    assert pending.result() == expected
    reference = on_cpu.start(batch)
    reference.result()
    for found, shares in zip(pending.part_shares(), reference.part_shares(), strict=True):
        np.testing.assert_allclose(found, shares, atol=1e-4)


def test_a_pass_given_up_leaves_no_memory_and_no_scores_behind(
    open_on: Callable[..., Ranker],
) -> None:
    class GivenUpError(Exception):
        pass

    num_steps = 0

    def give_up() -> None:
        nonlocal num_steps
        num_steps += 1
        if num_steps == 2:
            raise GivenUpError

    ranker = open_on(device="cuda", dtype="float32")
    batch = [ranker.encode(query, documents) for query, documents in lists()]
    expected, taken = ranker.score(batch), torch.cuda.memory_allocated()
    with pytest.raises(GivenUpError):
        ranker.start(batch, give_up)
    assert num_steps == 2
    assert torch.cuda.memory_allocated() == taken
    for row, before in zip(ranker.score(batch), expected, strict=True):
        assert row == pytest.approx(before, abs=1e-6)


def test_nothing_is_compiled_after_the_warm_up(open_on: Callable[..., Ranker]) -> None:
    ranker = open_on(device="cuda")
    ranker.warm_up()
    # Triton keeps the compiled variants of a device first in this tuple.
    before = [len(kernel.device_caches[0][0]) for kernel in KERNELS]
    assert sum(before) >= 8
    ranker.rank_batch(lists())
    ranker.rank("a", ["b"])
    assert [len(kernel.device_caches[0][0]) for kernel in KERNELS] == before


def test_memory_is_checked_when_opening(open_on: Callable[..., Ranker]) -> None:
    fits = open_on(device="cuda").info.max_batch_tokens
    assert fits is not None
    assert fits > 1000


@pytest.mark.parametrize("num_tokens", [1, 17, 1000])
def test_float8_products_are_those_of_the_rounded_numbers(num_tokens: int) -> None:
    linear = nn.Linear(64, 48).bfloat16()
    x = torch.randn(num_tokens, 64).bfloat16()
    rounded, layer = round_rows(x), Fp8Linear(linear)
    weight_NK = layer.weight_NK.float() * layer.scale_1N.T
    expected = rounded.values_TC.float() * rounded.scale_T1 @ weight_NK.T + linear.bias.float()
    found = Fp8Linear(linear.to("cuda"))(x.to("cuda")).float().cpu()
    # Sums in another order, then one rounding to bfloat16, and one more for the bias.
    torch.testing.assert_close(
        found, expected, rtol=2**-7, atol=float(expected.abs().max()) * 2**-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
def test_whole_weights_are_those_of_the_cpu(
    kind: type[WeightOnlyLinear], dtype: torch.dtype
) -> None:
    linear = nn.Linear(4096, 1100, bias=False).to(dtype)
    expected = kind(linear).whole_weight()
    layer = kind(linear.to("cuda"))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = layer.whole_weight()
    # A CUDA device may fuse multiplying and adding: one rounding where the CPU has two.
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(found.cpu(), expected, rtol=eps, atol=eps * 2**-6)
    scratch = scratch_bytes("int8" if kind is Int8Linear else "int4", 4096 * 1100, dtype.itemsize)
    assert torch.cuda.max_memory_allocated() - before <= 1.05 * scratch


@pytest.mark.parametrize("how", ["int8", "int4"])
def test_weight_only_scores_are_those_of_the_cpu(how: str, open_on: Callable[..., Ranker]) -> None:
    on_cpu, on_cuda = (
        open_on(device=device, dtype="float32", quantization=how) for device in ("cpu", "cuda")
    )
    for found, expected in zip(
        on_cuda.rank_batch(lists()), on_cpu.rank_batch(lists()), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-3)


def test_the_driver_finds_the_devices_torch_finds() -> None:
    assert count_devices() == torch.cuda.device_count()
