"""What stands between matrix products, against the modules of transformers that do the same."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm, apply_rotary_pos_emb

from blockrank_server.kernels.backend import TORCH_BACKEND, triton_backend
from blockrank_server.kernels.glue import FP8, Glue, HeadNorm, RoundedRows, round_rows

EPS = 1e-5
# Rows of a block and of more, of whole blocks and not; hidden sizes of SmolLM2 and smaller ones.
SIZES = [16, 576, 1024]


class UnderTest(NamedTuple):
    glue: Glue
    device: torch.device
    dtype: torch.dtype


def _under_test() -> Iterator[Any]:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        yield pytest.param(("torch", "cpu", dtype), id=f"torch-{name}")
        if dtype != torch.bfloat16:  # the interpreter computes it wrongly, without a word
            where = "cuda" if torch.cuda.is_available() else "cpu"
            yield pytest.param(("triton", where, dtype), id=f"triton-{name}")
        yield pytest.param(("triton", "cuda", dtype), id=f"cuda-{name}", marks=pytest.mark.gpu)


@pytest.fixture(params=_under_test())
def under_test(request: pytest.FixtureRequest) -> UnderTest:
    name, device, dtype = request.param
    backend = TORCH_BACKEND if name == "torch" else triton_backend()
    return UnderTest(backend.glue, torch.device(device), dtype)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_near(found: torch.Tensor, expected: torch.Tensor, roundings: int = 3) -> None:
    """As near as so many roundings of the dtype are."""
    eps = torch.finfo(found.dtype).eps
    assert found.dtype == expected.dtype
    if found.device.type == "cuda" and found.dtype == torch.float32:
        # There exp, rsqrt and division are off by a few units, exp by as many more as its argument.
        roundings += 16
    largest = float(expected.abs().max())
    torch.testing.assert_close(
        found.cpu(), expected.cpu(), rtol=roundings * eps, atol=largest * eps
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("adds", [True, False], ids=["add", "no-add"])
def test_the_residual_grows_and_is_normalised(under_test: UnderTest, size: int, adds: bool) -> None:
    glue, device, dtype = under_test
    hidden, delta = (random(7, size, seed=seed).to(dtype) for seed in (1, 2))
    norm = LlamaRMSNorm(size, EPS).to(dtype)
    norm.weight.data = random(size, seed=3).to(dtype)
    residual = hidden + delta if adds else hidden
    expected = norm(residual).detach()
    mine = hidden.clone().to(device)
    found = glue.add_rms_norm(
        mine, delta.to(device) if adds else None, norm.weight.detach().to(device), EPS, False
    )
    assert isinstance(found, torch.Tensor)
    assert torch.equal(mine.cpu(), residual)
    assert_near(found, expected)


@pytest.mark.parametrize(("num_heads", "num_kv", "dim"), [(9, 3, 64), (4, 1, 16), (8, 8, 32)])
def test_queries_and_keys_are_rotated_where_they_lie(
    under_test: UnderTest, num_heads: int, num_kv: int, dim: int
) -> None:
    glue, device, dtype = under_test
    qkv_ThD = random(5, num_heads + 2 * num_kv, dim).to(dtype)
    angles = random(5, dim // 2, seed=1).repeat(1, 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    q, k = (
        x.transpose(0, 1)[None]
        for x in (qkv_ThD[:, :num_heads], qkv_ThD[:, num_heads : num_heads + num_kv])
    )
    expected = torch.cat(apply_rotary_pos_emb(q, k, cos[None], sin[None]), 1)[0].transpose(0, 1)
    mine = qkv_ThD.clone().to(device)
    glue.rotate(mine[:, : num_heads + num_kv], cos.to(device), sin.to(device), None)
    assert_near(mine[:, : num_heads + num_kv], expected)
    assert torch.equal(mine[:, num_heads + num_kv :].cpu(), qkv_ThD[:, num_heads + num_kv :])


def test_heads_are_normalised_before_they_are_rotated(under_test: UnderTest) -> None:
    """As Qwen3 has it; a norm of a head is that of LlamaRMSNorm."""
    glue, device, dtype = under_test
    heads_ThD = 3 * random(4, 5, 32)
    heads_ThD = heads_ThD.to(dtype)
    angles = random(4, 16, seed=1).repeat(1, 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    norms = [LlamaRMSNorm(32, EPS).to(dtype) for _ in range(2)]
    for seed, norm in enumerate(norms):
        norm.weight.data = random(32, seed=seed + 5).to(dtype)
    q, k = norms[0](heads_ThD[:, :3]).detach(), norms[1](heads_ThD[:, 3:]).detach()
    rotated = apply_rotary_pos_emb(
        q.transpose(0, 1)[None], k.transpose(0, 1)[None], cos[None], sin[None]
    )
    expected = torch.cat(rotated, 1)[0].transpose(0, 1)
    weights = torch.stack([norm.weight.detach() for norm in norms]).to(device)
    mine = heads_ThD.clone().to(device)
    glue.rotate(mine, cos.to(device), sin.to(device), HeadNorm(weights, 3, EPS))
    assert_near(mine, expected, roundings=5)


@pytest.mark.parametrize("size", [24, 1536])
def test_the_gate_is_that_of_the_mlp(under_test: UnderTest, size: int) -> None:
    glue, device, dtype = under_test
    gate_up = (2 * random(5, 2 * size)).to(dtype)
    act = LlamaMLP(LlamaConfig(hidden_size=64, intermediate_size=8)).act_fn
    gate, up = gate_up.chunk(2, -1)
    found = glue.silu_mul(gate_up.to(device), False)
    assert isinstance(found, torch.Tensor)
    assert_near(found, act(gate) * up)


def as_wide(rounded: Any) -> torch.Tensor:
    assert isinstance(rounded, RoundedRows)
    assert (rounded.values_TC.dtype, rounded.scale_T1.dtype) == (FP8, torch.float32)
    assert rounded.scale_T1.shape == (len(rounded.values_TC), 1)
    return (rounded.values_TC.cpu().double() * rounded.scale_T1.cpu().double()).float()


Makers = dict[str, Callable[[UnderTest, bool], Any]]
OF_FP8: Makers = {
    "norm": lambda it, to_fp8: it.glue.add_rms_norm(
        rows(it, 40), None, random(40, seed=9).to(it.device, it.dtype), EPS, to_fp8
    ),
    "gate": lambda it, to_fp8: it.glue.silu_mul(rows(it, 48).clamp(-60, 60), to_fp8),
}


def rows(it: UnderTest, size: int) -> torch.Tensor:
    """Rows of all sizes, one of zeros."""
    made = random(9, size) * 10.0 ** torch.arange(-4, 5).unsqueeze(1)
    made[5] = 0
    return made.clamp(-6e4, 6e4).to(it.device, it.dtype)


@pytest.mark.parametrize("name", OF_FP8)
def test_rounding_to_float8_is_that_of_the_result(under_test: UnderTest, name: str) -> None:
    found = as_wide(OF_FP8[name](under_test, True))
    whole = OF_FP8[name](under_test, False).cpu()
    expected = as_wide(round_rows(whole))
    # The scale may differ by its last bit, which can turn a value that lies in the middle.
    step = expected.abs().amax(-1, keepdim=True) * 2**-12
    assert ((found - expected).abs() <= expected.abs() * 2**-3 + step).all()
    assert (found - expected).abs().gt(expected.abs() * 2**-5 + step).float().mean() < 0.01
    assert found.abs().amax(-1) == pytest.approx(whole.float().abs().amax(-1), rel=1e-6, abs=1e-11)


def test_a_row_is_rounded_to_the_bits_float8_has() -> None:
    made = random(33, 48) * 10.0 ** torch.arange(-16, 17).unsqueeze(1)
    made[5] = 0
    values, scale = round_rows(made.bfloat16())
    back, made = values.double() * scale.double(), made.bfloat16().double()
    # 3 bits of mantissa, and of the smallest the last step.
    assert ((back - made).abs() <= made.abs() * 2**-4 + scale.double() * 2**-10).all()
    assert (back[5] == 0).all()


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (torch.zeros(2, 3, 24), "a power of two"),
        (torch.zeros(2, 3, 32)[:, ::2], "the last two axes contiguous"),
    ],
)
def test_heads_that_the_kernel_cannot_turn_are_refused(heads: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        triton_backend().glue.rotate(heads, heads[:, 0], heads[:, 0], None)


def test_rows_that_do_not_lie_together_are_refused() -> None:
    glue, apart = triton_backend().glue, torch.zeros(4, 32)[:, ::2]
    with pytest.raises(ValueError, match="gate_up must be contiguous rows, got"):
        glue.silu_mul(apart, False)
    with pytest.raises(ValueError, match="delta must be contiguous rows, got"):
        glue.add_rms_norm(torch.zeros(4, 16), apart, torch.ones(16), EPS, False)
