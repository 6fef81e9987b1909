"""What runs where; and a device that will not do, which is one clear message before any loading."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blockrank_server.kernels.backend import triton_backend
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.engine import memory_plan, placement, quantize
from blockrank_server.models.engine.fused_network import FusedNetwork
from blockrank_server.models.engine.placement import Placement
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.ranker import Ranker

OpenTiny = Callable[..., Ranker]


@pytest.mark.parametrize(
    ("instructions", "dtype", "kept", "expected"),
    [
        ([], "auto", (), ("float32", "none")),
        (["avx2", "avx_vnni"], "auto", (), ("float32", "none")),
        (["avx512_bf16"], "auto", (), ("bfloat16", "none")),
        (["avx512_bf16", "avx512_vnni"], "auto", (), ("bfloat16", "dynamic_int8")),
        (["amx_bf16", "amx_int8"], "auto", (), ("bfloat16", "dynamic_int8")),
        (["avx512_vnni"], "auto", (), ("float32", "dynamic_int8")),
        (["avx512_vnni"], "bfloat16", (), ("bfloat16", "dynamic_int8")),
        (["avx512_bf16", "avx512_vnni"], "auto", None, ("bfloat16", "none")),
    ],
)
def test_the_processor_chooses_the_number_format(
    instructions: list[str],
    dtype: str,
    kept: tuple[str, ...] | None,
    expected: tuple[str, str],
    blockrank_card: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bytes only where it was measured for the card, and where products of them do not saturate."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True))
    card = Card.model_validate(blockrank_card | {"int8_kept": kept})
    names = Placement.choose("cpu", dtype, "auto", card).names()
    assert (names["dtype"], names["quantization"]) == expected
    assert Placement.choose("cpu", dtype, "none", card).quantization == "none"


def test_a_processor_without_products_of_bytes_is_told() -> None:
    with pytest.raises(CheckpointError, match=r"needs a processor with AVX-512 VNNI or AMX$"):
        Placement.choose("cpu", "float32", "dynamic_int8")


def test_the_few_launches_give_the_golden_scores(
    fixtures: Path,
    blockrank_card: dict[str, Any],
    open_tiny: OpenTiny,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of it as on CUDA, but for the device: the kernels are interpreted."""
    monkeypatch.setattr(placement, "choose_backend", lambda _: triton_backend())
    ranker = open_tiny("blockrank", blockrank_card)
    assert isinstance(ranker._engine._network, FusedNetwork)
    lines = (fixtures / "blockrank/cases.jsonl").read_text().splitlines()
    case = next(c for c in map(json.loads, lines) if c["name"] == "quickstart")
    found = ranker.rank(case["query"], case["documents"])
    np.testing.assert_allclose(found, case["expected"]["scores"], atol=1e-5, rtol=1e-3)


@pytest.fixture
def on_cuda(
    blockrank_card: dict[str, Any], open_tiny: OpenTiny, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ranker]:
    """Open a checkpoint on a Hopper card, as far as one can be had by words."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(quantize, "probe", lambda _: None)
    return lambda **options: open_tiny("blockrank", blockrank_card, device="cuda", **options)


def test_a_card_too_old_is_refused(
    on_cuda: Callable[..., Ranker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    with pytest.raises(CheckpointError, match=r"^compute capability 8\.0 or newer is needed, cuda"):
        on_cuda()


def test_cuda_without_triton_is_refused(
    on_cuda: Callable[..., Ranker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blockrank_server.kernels.backend.find_spec", lambda _: None)
    with pytest.raises(CheckpointError, match=r"^a CUDA device needs the triton package"):
        on_cuda()


def test_too_little_memory_is_refused(
    on_cuda: Callable[..., Ranker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_plan, "free_bytes", lambda _: 2**20)
    with pytest.raises(CheckpointError, match=r"^the weights need .* GiB free$"):
        on_cuda()


def test_a_product_that_the_device_refuses_is_refused(
    on_cuda: Callable[..., Ranker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "probe", lambda _: "CUBLAS_STATUS_NOT_SUPPORTED")
    with pytest.raises(
        CheckpointError,
        match=r"^cuda refuses a product in fp8: CUBLAS_STATUS_NOT_SUPPORTED; use bfloat16 or int8$",
    ):
        on_cuda(quantization="fp8")


def test_graphs_are_for_cuda_and_a_choice_of_two() -> None:
    assert not Placement.choose("cpu", "float32", "none").has_graphs
    with pytest.raises(CheckpointError, match="cuda_graphs 'on' is not one of auto, off"):
        Placement.choose("cpu", "float32", "none", cuda_graphs="on")
