"""Linear layers in float8: what it does to products and scores, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.fp8 import FP8, Fp8Linear, rounded_rows
from blockrank_server.models.quantization import check_quantization, quantize
from blockrank_server.models.ranker import Ranker

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def test_a_row_is_rounded_to_the_bits_float8_has() -> None:
    rows = random(33, 48) * 10.0 ** torch.arange(-16, 17).unsqueeze(1).bfloat16()
    rows[5] = 0
    rounded, scale = rounded_rows(rows)
    assert (rounded.dtype, scale.dtype, scale.shape) == (FP8, torch.float32, (33, 1))
    back = rounded.double() * scale.double()
    # 3 bits of mantissa, and of the smallest the last step; bfloat16's product before it has 8.
    allowed = rows.double().abs() * (2**-4 + 2**-8) + scale.double() * 2**-10
    assert ((back - rows.double()).abs() <= allowed).all()
    assert (back[5] == 0).all()


@pytest.mark.parametrize("has_bias", [False, True])
def test_a_layer_is_the_product_of_what_was_rounded(has_bias: bool) -> None:
    linear = nn.Linear(64, 48, bias=has_bias).bfloat16()
    x = random(2, 17, 64) * 3
    found = Fp8Linear(linear)(x)
    (a, scale_a), (b, scale_b) = rounded_rows(x.flatten(0, 1)), rounded_rows(linear.weight.detach())
    exact = (a.double() * scale_a) @ (b.double() * scale_b).T
    if has_bias:
        exact = exact + linear.bias.detach()
    assert (found.dtype, found.shape) == (torch.bfloat16, (2, 17, 48))
    # Once rounded to bfloat16, twice with a bias, on top of fp32 sums.
    worst = (found.flatten(0, 1).double() - exact).abs().max()
    assert worst <= 2**-7 * exact.abs().max()


def test_scores_are_no_further_off_than_float8_is(
    fixtures: Path, blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    lines = (fixtures / "blockrank/cases.jsonl").read_text().splitlines()
    case = next(c for c in map(json.loads, lines) if c["name"] == "quickstart")
    exact, ranker = (
        open_tiny("blockrank", blockrank_card, dtype=dtype) for dtype in ("float32", "bfloat16")
    )
    expected = np.array(exact.rank(case["query"], case["documents"]))
    quantize(ranker._engine._network, "fp8")
    found = np.array(ranker.rank(case["query"], case["documents"]))
    off = np.abs(found - expected).max() / expected.max()
    assert 0 < off < 0.25
    assert found.sum() == pytest.approx(1, abs=1e-5)


def test_the_read_layer_keeps_its_bits(
    blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    network = open_tiny("blockrank", blockrank_card, dtype="bfloat16")._engine._network
    quantize(network, "fp8")
    below = [m for m in network.layers[:-1].modules() if isinstance(m, nn.Linear | Fp8Linear)]
    assert [type(m) for m in below] == [Fp8Linear] * (4 * 7)
    read = [m for m in network.layers[-1].modules() if isinstance(m, nn.Linear | Fp8Linear)]
    assert [type(m) for m in read] == [nn.Linear] * 2


def test_a_size_the_matrix_units_do_not_take_is_an_error(
    blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    network = open_tiny("blockrank", blockrank_card, dtype="bfloat16")._engine._network
    network.layers[1].mlp.up_proj = nn.Linear(64, 40).bfloat16()
    with pytest.raises(CheckpointError, match=r"fp8, up_proj: .* bfloat16 \[40, 64\]"):
        quantize(network, "fp8")


@pytest.mark.parametrize(
    ("how", "device", "dtype", "capability", "message"),
    [
        ("int3", CPU, torch.float32, (9, 0), "'int3' is not one of none, fp8"),
        ("fp8", CPU, torch.bfloat16, (9, 0), "got bfloat16 on cpu"),
        ("fp8", CUDA, torch.bfloat16, (8, 0), "8.9 or newer, got bfloat16 on cuda"),
        ("fp8", CUDA, torch.float32, (9, 0), "got float32 on cuda"),
    ],
)
def test_what_cannot_be_done_is_refused(
    how: str,
    device: torch.device,
    dtype: torch.dtype,
    capability: tuple[int, int],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    with pytest.raises(CheckpointError, match=message):
        check_quantization(how, device, dtype)


def test_fp8_is_for_hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert check_quantization("fp8", CUDA, torch.bfloat16) == "fp8"


def test_nothing_is_quantized_unasked(
    blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker = open_tiny("blockrank", blockrank_card, dtype="bfloat16")
    assert ranker.info.quantization == "none"
    assert not [m for m in ranker._engine._network.modules() if isinstance(m, Fp8Linear)]
    with pytest.raises(CheckpointError, match="fp8 needs"):
        open_tiny("blockrank", blockrank_card, quantization="fp8")
