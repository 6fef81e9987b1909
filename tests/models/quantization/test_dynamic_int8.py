"""Linear layers in bytes: how near they are, and that a token depends on no other."""

import pytest
import torch
from torch import nn

from blockrank_server.models.quantization.dynamic_int8 import DynamicInt8Linear

DTYPES = [torch.float32, torch.bfloat16]


def linear(dtype: torch.dtype, *, bias: bool = False) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(96, 40, bias=bias).requires_grad_(False).to(dtype)


def tokens(dtype: torch.dtype) -> torch.Tensor:
    """Tokens of all sizes, one of zeros."""
    made = torch.randn(9, 96, generator=torch.Generator().manual_seed(1))
    made *= 10.0 ** torch.arange(-4, 5).unsqueeze(1)
    made[5] = 0
    return made.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
def test_every_token_is_near_the_whole_product(dtype: torch.dtype, bias: bool) -> None:
    whole, x = linear(dtype, bias=bias), tokens(dtype)
    found = DynamicInt8Linear(whole)(x)
    assert (found.dtype, found.shape) == (dtype, (9, 40))
    expected = whole.double()(x.double())
    error, size = (found.double() - expected).norm(dim=1), expected.norm(dim=1)
    assert (error <= 0.02 * size).all()
    assert torch.equal(found[5], torch.zeros(40, dtype=dtype) if not bias else whole.to(dtype).bias)


def test_the_products_are_those_of_rounded_numbers() -> None:
    """Exactly: a scale of each output and of each token, and sums of whole numbers."""
    whole, x = linear(torch.float32), tokens(torch.float32)
    weight_scale, scale = (t.abs().amax(1, keepdim=True) / 127 for t in (whole.weight, x))
    weight_steps = (whole.weight / weight_scale).round().double()
    steps = (x / scale.clamp(min=1e-30)).round().double()
    expected = (steps @ weight_steps.T) * scale.double() * weight_scale.double().T
    found = DynamicInt8Linear(whole)(x)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_token_is_the_same_in_every_batch(dtype: torch.dtype) -> None:
    layer, x = DynamicInt8Linear(linear(dtype, bias=True)), tokens(dtype)
    whole = layer(x)
    for i in range(len(x)):
        assert torch.equal(layer(x[i : i + 1]), whole[i : i + 1])
    assert torch.equal(layer(x[None]), whole[None])
