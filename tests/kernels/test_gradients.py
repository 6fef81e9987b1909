"""The torch path's gradients against finite differences."""

from typing import Any

import numpy as np
import pytest
import torch

from blockrank_server.kernels.block_attention import BlockAttentionPlan, block_attention
from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.padded_attention import PaddedAttentionPlan, padded_attention
from blockrank_server.kernels.segments import Segment
from blockrank_server.kernels.span_lse import SpanLsePlan, SpanRead, span_lse


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize(
    ("make_plan", "attend"),
    [(BlockAttentionPlan, block_attention), (PaddedAttentionPlan, padded_attention)],
    ids=["ragged", "padded"],
)
def test_attention(make_plan: Any, attend: Any, *, is_causal: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    segments = [
        Segment(0, 1),
        Segment(1, 3, ((0, 1),), is_causal=is_causal),
        Segment(3, 4, ((0, 1),), is_causal=is_causal),
        Segment(4, 6, ((6, 8), (0, 1))),
    ]
    rows = KeyRows(6, np.array([0, 1, 2, 3, 4, 5, 2, 3], np.int32))
    plan = make_plan(segments, 6, torch.device("cpu"), rows)
    tensors = [
        torch.randn(6, heads, 2, generator=generator, dtype=torch.float64, requires_grad=True)
        for heads in (2, 1, 1)
    ]
    assert torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, plan, 0.7), tensors)


def test_span_lse() -> None:
    generator = torch.Generator().manual_seed(0)
    reads = [SpanRead((4, 6), ((0, 2), (2, 2), (2, 6))), SpanRead((6, 7), ((7, 10),))]
    key_rows = KeyRows(7, np.array([0, 1, 2, 3, 4, 5, 6, 2, 0, 2], np.int32))
    plan = SpanLsePlan(reads, torch.device("cpu"), key_rows)
    q = torch.randn(3, 3, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    k = torch.randn(7, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)

    def finite(q: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, ...]:
        lse = span_lse(q, k, [1, 0, 1], plan, 0.7)
        return lse[0][..., 0], lse[0][..., 2], lse[1]

    assert torch.autograd.gradcheck(finite, (q, k))
