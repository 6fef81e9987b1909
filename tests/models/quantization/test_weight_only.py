"""Weights in 8 and 4 bits: how far from the weight they are, and what a layer makes of them."""

import pytest
import torch
from torch import nn

from blockrank_server.models.quantization.weight_only import (
    GROUP_SIZE,
    Int4Linear,
    Int8Linear,
    WeightOnlyLinear,
    round_groups_to_int4,
    round_rows_to_int8,
)

DTYPES = [torch.float32, torch.bfloat16]
KINDS = [Int8Linear, Int4Linear]


def weights(num_rows: int, num_inputs: int, dtype: torch.dtype) -> torch.Tensor:
    """Rows of every size there is, one of zeros, one of equal weights, one far from zero."""
    made = torch.randn(num_rows, num_inputs, generator=torch.Generator().manual_seed(3))
    made *= 10.0 ** torch.linspace(-9, 9, num_rows).unsqueeze(1)
    made[1], made[2] = 0, -0.3
    made[3] = 100 + made[3] / made[3].abs().max()
    return made.to(dtype)


def whole(weight: torch.Tensor, kind: type[WeightOnlyLinear]) -> torch.Tensor:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return kind(linear).whole_weight()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_8_bits_are_half_a_step_of_the_row_off(dtype: torch.dtype) -> None:
    weight = weights(33, 47, dtype)
    values, scale = round_rows_to_int8(weight)
    assert (values.dtype, scale.dtype, scale.shape) == (torch.int8, dtype, (33, 1))
    assert int(values.abs().max()) == 127
    step = weight.double().abs().amax(1, keepdim=True) / 127
    off = (values.double() * scale.double() - weight.double()).abs()
    # The scale itself is rounded to the dtype.
    assert (off <= step * 0.5 * (1 + torch.finfo(dtype).eps) + 1e-11).all()
    assert (off[1] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_4_bits_are_half_a_step_of_the_group_off(dtype: torch.dtype) -> None:
    weight = weights(33, 3 * GROUP_SIZE, dtype)
    packed, scale, low = round_groups_to_int4(weight)
    assert (packed.dtype, packed.shape) == (torch.uint8, (33, 3, GROUP_SIZE // 2))
    assert scale.dtype == low.dtype == dtype
    assert scale.shape == low.shape == (33, 3, 1)
    groups = weight.double().reshape(33, 3, GROUP_SIZE)
    step = (groups.amax(2, keepdim=True) - groups.amin(2, keepdim=True)) / 15
    first, second = (packed & 15).double(), (packed >> 4).double()
    off = (torch.cat([first, second], dim=2) * scale.double() + low.double() - groups).abs()
    assert (off <= step * 0.5 * (1 + torch.finfo(dtype).eps) + 1e-11).all()
    assert (off[1:3] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_weight_is_what_was_rounded(
    kind: type[WeightOnlyLinear], dtype: torch.dtype
) -> None:
    weight = weights(33, 2 * GROUP_SIZE, dtype)
    if kind is Int8Linear:
        values, scale = round_rows_to_int8(weight)
        exact = values.double() * scale.double()
    else:
        packed, scale, low = round_groups_to_int4(weight)
        steps = torch.cat([packed & 15, packed >> 4], dim=2)
        exact = (steps.double() * scale.double() + low.double()).flatten(1)
    found = whole(weight, kind)
    assert (found.dtype, found.shape) == (dtype, weight.shape)
    # Rounded to the dtype once; a float32 product is, before its sum, once more.
    assert ((found.double() - exact).abs() <= exact.abs() * torch.finfo(dtype).eps).all()


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_the_product_of_its_whole_weight(
    kind: type[WeightOnlyLinear], dtype: torch.dtype, has_bias: bool
) -> None:
    linear = nn.Linear(96, 47, bias=has_bias).to(dtype)
    x = torch.randn(2, 17, 96).to(dtype)
    layer = kind(linear)
    expected = x.double() @ layer.whole_weight().double().T
    if has_bias:
        expected += linear.bias.detach().double()
    found = layer(x)
    assert (found.dtype, found.shape) == (dtype, (2, 17, 47))
    # bfloat16 is rounded once, with a bias twice; float32 in every one of the 96 sums.
    allowed = 2**-7 if dtype == torch.bfloat16 else 96 * 2**-24
    assert (found.double() - expected).abs().max() <= allowed * expected.abs().max()
    assert not torch.equal(found, linear(x))


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_weight_is_rounded_as_its_rows_are(kind: type[WeightOnlyLinear]) -> None:
    """Rows are taken a few at a time, to save memory; a row says nothing of the others."""
    weight = torch.randn(70, 65_536, generator=torch.Generator().manual_seed(4))
    found = whole(weight, kind)
    for rows in (slice(0, 1), slice(60, 70)):
        assert torch.equal(found[rows], whole(weight[rows], kind))


@pytest.mark.parametrize("num_inputs", [1, 31, 40])
def test_inputs_that_make_no_whole_groups_are_an_error(num_inputs: int) -> None:
    linear = nn.Linear(num_inputs, 8)
    message = rf"inputs are a multiple of 32, got \[8, {num_inputs}\]"
    with pytest.raises(ValueError, match=message):
        Int4Linear(linear)
    assert Int8Linear(linear)(torch.ones(3, num_inputs)).shape == (3, 8)
