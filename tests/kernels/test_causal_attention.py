"""Causal attention in blocks of queries, against every query's softmax."""

import pytest
import torch

from blockrank_server.kernels.causal_attention import causal_attention, is_faster


def expected(
    q_BLHD: torch.Tensor, k_BSKD: torch.Tensor, v_BSKD: torch.Tensor, scale: float
) -> torch.Tensor:
    repeated = q_BLHD.shape[2] // k_BSKD.shape[2]
    k, v = (x.double().repeat_interleave(repeated, 2) for x in (k_BSKD, v_BSKD))
    products = torch.einsum("blhd,bshd->bhls", q_BLHD.double(), k) * scale
    length, num_keys = products.shape[2:]
    later = torch.ones(length, num_keys, dtype=torch.bool).triu(num_keys - length + 1)
    shares = products.masked_fill(later, -torch.inf).softmax(-1)
    return torch.einsum("bhls,bshd->blhd", shares, v)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.125, 128**-0.5])
@pytest.mark.parametrize("num_before", [0, 7])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_a_query_sees_what_stands_before_it(
    length: int, num_before: int, scale: float, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(length)
    q, k, v = (
        torch.randn(19, num, heads, 64, generator=generator).to(dtype)
        for num, heads in ((length, 9), (num_before + length, 3), (num_before + length, 3))
    )
    found = causal_attention(q, k, v, scale)
    assert (found.dtype, found.shape) == (dtype, q.shape)
    atol = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(found.double(), expected(q, k, v, scale), rtol=0, atol=atol)


def test_it_is_not_taken_where_a_gradient_is_needed_or_torch_is_as_fast() -> None:
    long, short = torch.ones(1, 300, 1, 8), torch.ones(1, 100, 1, 8)
    assert is_faster(long)
    assert is_faster(short.bfloat16())
    assert not is_faster(short)
    assert not is_faster(long.half())
    assert not is_faster(torch.ones(1, 15, 1, 8, dtype=torch.bfloat16))
    assert not is_faster(long.requires_grad_())
