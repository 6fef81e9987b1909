"""Linear layers in fewer bits: what it does to products and scores, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from blockrank_server.kernels.glue import round_rows
from blockrank_server.models.engine import quantize as quantize_module
from blockrank_server.models.engine.quantize import check_quantization, linear_names, quantize
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.quantization import fp8
from blockrank_server.models.quantization.fp8 import Fp8Linear
from blockrank_server.models.quantization.names import Quantization
from blockrank_server.models.quantization.weight_only import (
    Int4Linear,
    Int8Linear,
    WeightOnlyLinear,
)
from blockrank_server.models.ranker import Ranker

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


@pytest.mark.parametrize("has_bias", [False, True])
def test_a_layer_is_the_product_of_what_was_rounded(has_bias: bool) -> None:
    linear = nn.Linear(64, 48, bias=has_bias).bfloat16()
    x = random(2, 17, 64) * 3
    found = Fp8Linear(linear)(x)
    (a, scale_a), (b, scale_b) = round_rows(x.flatten(0, 1)), round_rows(linear.weight.detach())
    exact = (a.double() * scale_a) @ (b.double() * scale_b).T
    if has_bias:
        exact = exact + linear.bias.detach()
    assert (found.dtype, found.shape) == (torch.bfloat16, (2, 17, 48))
    # Once rounded to bfloat16, twice with a bias, on top of fp32 sums.
    worst = (found.flatten(0, 1).double() - exact).abs().max()
    assert worst <= 2**-7 * exact.abs().max()


def quickstart(fixtures: Path) -> tuple[str, list[Any]]:
    """Query and documents of one golden case."""
    lines = (fixtures / "blockrank/cases.jsonl").read_text().splitlines()
    case = next(c for c in map(json.loads, lines) if c["name"] == "quickstart")
    return case["query"], case["documents"]


@pytest.mark.parametrize(
    ("how", "dtype", "most"),
    [
        ("fp8", "bfloat16", 0.25),
        ("int8", "bfloat16", 0.15),
        ("int8", "float32", 0.1),
        # Random weights have no slack: of each, 4 bits lose a twelfth, in every one of four layers.
        ("int4", "float32", 0.75),
    ],
)
def test_scores_are_no_further_off_than_the_bits_are(
    how: Quantization,
    dtype: str,
    most: float,
    fixtures: Path,
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
) -> None:
    exact, ranker = (
        open_tiny("blockrank", blockrank_card, dtype=each) for each in ("float32", dtype)
    )
    expected = np.array(exact.rank(*quickstart(fixtures)))
    quantize(ranker._engine._network, how)
    found = np.array(ranker.rank(*quickstart(fixtures)))
    off = np.abs(found - expected).max() / expected.max()
    assert 0 < off < most
    assert found.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("how", ["int8", "int4"])
def test_scores_are_those_of_the_rounded_weights(
    how: str,
    dtype: str,
    fixtures: Path,
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
) -> None:
    ranker, plain = (
        open_tiny("blockrank", blockrank_card, dtype=dtype, quantization=each)
        for each in (how, "none")
    )
    network = plain._engine._network
    for name in linear_names(network, "int8"):
        rounded = ranker._engine._network.get_submodule(name)
        assert isinstance(rounded, WeightOnlyLinear)
        network.get_parameter(f"{name}.weight").copy_(rounded.whole_weight())
    assert ranker.rank(*quickstart(fixtures)) == plain.rank(*quickstart(fixtures))
    assert ranker.info.quantization == how


@pytest.mark.parametrize(
    ("how", "kind"), [("fp8", Fp8Linear), ("int8", Int8Linear), ("int4", Int4Linear)]
)
def test_the_read_layer_and_embeddings_keep_their_bits(
    how: Quantization,
    kind: type[nn.Module],
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
) -> None:
    network = open_tiny("blockrank", blockrank_card, dtype="bfloat16")._engine._network
    whole = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    quantize(network, how)
    below = [m for m in network.layers[:-1].modules() if isinstance(m, nn.Linear | kind)]
    assert [type(m) for m in below] == [kind] * (4 * 4)
    kept = {n: t for n, t in whole.items() if n.startswith(("layers.4.", "embed_tokens."))}
    assert len(kept) == 1 + 3
    for name, tensor in kept.items():
        assert torch.equal(network.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("how", "sizes", "message"),
    [
        ("fp8", (64, 40), r"fp8, layers\.1\.mlp\.up_proj: .* bfloat16 \[40, 64\]"),
        ("int4", (40, 64), r"int4, layers\.1\.mlp\.up_proj: .* multiple of 32, got \[64, 40\]"),
    ],
)
def test_a_size_that_cannot_be_quantized_is_an_error(
    how: Quantization,
    sizes: tuple[int, int],
    message: str,
    blockrank_card: dict[str, Any],
    open_tiny: Callable[..., Ranker],
) -> None:
    network = open_tiny("blockrank", blockrank_card, dtype="bfloat16")._engine._network
    network.layers[1].mlp.up_proj = nn.Linear(*sizes).bfloat16()
    with pytest.raises(CheckpointError, match=message):
        quantize(network, how)


@pytest.mark.parametrize(
    ("how", "device", "dtype", "capability", "message"),
    [
        (
            "int3",
            CPU,
            torch.float32,
            (9, 0),
            "'int3' is not one of none, fp8, dynamic_int8, int8, int4",
        ),
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


@pytest.fixture
def hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card whose products run on the CPU."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(quantize_module, "probe", lambda _: fp8.probe(CPU))


@pytest.mark.usefixtures("hopper")
def test_fp8_is_for_hopper() -> None:
    assert check_quantization("fp8", CUDA, torch.bfloat16) == "fp8"


@pytest.mark.usefixtures("hopper")
@pytest.mark.parametrize(
    ("product", "message"),
    [
        (RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED\nmore"), "CUBLAS_STATUS_NOT_SUPPORTED; use"),
        (torch.zeros(48, 272).bfloat16(), r"it is off by 1 of its largest; use bfloat16 or int8"),
        (torch.full((48, 272), torch.nan).bfloat16(), "it is off by nan of its largest"),
    ],
)
def test_a_device_that_refuses_the_product_is_refused(
    product: Exception | torch.Tensor, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def multiply(*_: Any) -> torch.Tensor:
        if isinstance(product, Exception):
            raise product
        return product

    monkeypatch.setattr(fp8, "multiply", multiply)
    with pytest.raises(CheckpointError, match=f"cuda refuses a product in fp8: {message}"):
        check_quantization("fp8", CUDA, torch.bfloat16)


def test_a_product_that_would_hang_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 9))
    monkeypatch.setattr(torch, "__version__", "2.11.0+cu130")
    with pytest.raises(CheckpointError, match=r"2\.12 or newer .* cuda runs torch 2\.11\.0\+cu130"):
        check_quantization("fp8", CUDA, torch.bfloat16)


@pytest.mark.parametrize("how", ["none", "int8", "int4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_integers_are_for_every_device(how: str, dtype: torch.dtype) -> None:
    assert check_quantization(how, CPU, dtype) == check_quantization(how, CUDA, dtype) == how


def test_nothing_is_quantized_unasked(
    blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]
) -> None:
    ranker = open_tiny("blockrank", blockrank_card, dtype="bfloat16")
    assert ranker.info.quantization == "none"
    assert {t.dtype for t in ranker._engine._network.state_dict().values()} == {torch.bfloat16}
    with pytest.raises(CheckpointError, match="fp8 needs"):
        open_tiny("blockrank", blockrank_card, quantization="fp8")
