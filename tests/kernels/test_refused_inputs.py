"""What plans and operations refuse, and how the refusal reads."""

from typing import Any

import numpy as np
import pytest
import torch

from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.segments import Segment
from blockrank_server.kernels.span_lse import SpanRead


@pytest.fixture(
    params=[
        pytest.param(
            (
                torch.zeros(4, 2, 16, dtype=torch.float64),
                r"q must be float32, bfloat16 or float16, got torch\.float64",
            ),
            id="dtype",
        ),
        pytest.param(
            (torch.zeros(4, 2, 80), r"a power of two in 16 \.\. 256, got 80"), id="head-dim-80"
        ),
        pytest.param((torch.zeros(4, 2, 8), r"in 16 \.\. 256, got 8"), id="head-dim-8"),
        pytest.param((torch.zeros(4, 2, 512), r"in 16 \.\. 256, got 512"), id="head-dim-512"),
        pytest.param(
            (torch.zeros(4, 2, 32)[..., ::2], "the last axis needs stride 1, got 2"), id="stride"
        ),
        pytest.param(
            (torch.zeros(4, 2, 16, requires_grad=True), "q wants a gradient"), id="gradient"
        ),
    ]
)
def unsupported(request: pytest.FixtureRequest) -> tuple[torch.Tensor, str]:
    """[4, 2, D] queries that torch takes and the kernels do not, and what they say to it."""
    found: tuple[torch.Tensor, str] = request.param
    return found


def test_attention_refuses_what_only_torch_can_do(
    kernels_on: Any, unsupported: tuple[torch.Tensor, str]
) -> None:
    q, message = unsupported
    backend, device = kernels_on.backend, kernels_on.device
    k = torch.zeros(4, 1, q.shape[2], dtype=q.dtype, device=device)
    plan = backend.plan_block_attention([Segment(0, 4)], 4, device)
    with pytest.raises(ValueError, match=message):
        backend.block_attention(q.to(device), k, k, plan, 1.0)


def test_a_reading_refuses_what_only_torch_can_do(
    kernels_on: Any, unsupported: tuple[torch.Tensor, str]
) -> None:
    q, message = unsupported
    backend, device = kernels_on.backend, kernels_on.device
    k = torch.zeros(4, 1, q.shape[2], dtype=q.dtype, device=device)
    plan = backend.plan_span_lse([SpanRead((0, 4), ((0, 2),))], device)
    with pytest.raises(ValueError, match=message):
        backend.span_lse(q.to(device), k, [0, 0], plan, 1.0)


@pytest.mark.parametrize(
    ("shapes", "dtypes", "message"),
    [
        pytest.param(
            [(5, 4, 16), (6, 2, 16), (6, 2, 16)],
            [torch.float32] * 3,
            r"q must be \[6, heads, head_dim\], got \[5, 4, 16\]",
            id="tokens-of-q",
        ),
        pytest.param(
            [(6, 64), (6, 2, 16), (6, 2, 16)],
            [torch.float32] * 3,
            r"q must be \[6, heads, head_dim\], got \[6, 64\]",
            id="axes-of-q",
        ),
        pytest.param(
            [(6, 4, 16), (6, 2, 32), (6, 2, 32)],
            [torch.float32] * 3,
            r"k and v must be \[6, kv_heads, 16\], got \[6, 2, 32\] and \[6, 2, 32\]",
            id="head-dim-of-k",
        ),
        pytest.param(
            [(6, 4, 16), (6, 2, 16), (6, 1, 16)],
            [torch.float32] * 3,
            r"k and v must be \[6, kv_heads, 16\], got \[6, 2, 16\] and \[6, 1, 16\]",
            id="heads-of-v",
        ),
        pytest.param(
            [(6, 4, 16), (6, 3, 16), (6, 3, 16)],
            [torch.float32] * 3,
            "4 query heads are no multiple of 3 kv heads",
            id="group",
        ),
        pytest.param(
            [(6, 4, 16), (6, 2, 16), (6, 2, 16)],
            [torch.float32, torch.float16, torch.float32],
            "dtypes differ: q torch.float32, k torch.float16, v torch.float32",
            id="dtypes",
        ),
    ],
)
def test_attention_refuses_bad_inputs(
    shapes: list[tuple[int, ...]],
    dtypes: list[torch.dtype],
    message: str,
    implementation: Any,
) -> None:
    device = implementation.device
    plan = implementation.backend.plan_block_attention([Segment(0, 6)], 6, device)
    tensors = [
        torch.zeros(shape, dtype=dtype, device=device)
        for shape, dtype in zip(shapes, dtypes, strict=True)
    ]
    with pytest.raises(ValueError, match=message):
        implementation.backend.block_attention(*tensors, plan, 1.0)


def test_a_plan_refuses_segments_that_do_not_cover(implementation: Any) -> None:
    with pytest.raises(ValueError, match="segments cover 3 tokens, expected 4"):
        implementation.backend.plan_block_attention([Segment(0, 3)], 4, implementation.device)


def test_attention_refuses_too_few_rows(implementation: Any) -> None:
    device = implementation.device
    key_rows = KeyRows(6, np.full(8, 20, np.int32))
    plan = implementation.backend.plan_block_attention([Segment(0, 6)], 6, device, key_rows)
    tensors = [torch.zeros(rows, 1, 16, device=device) for rows in (6, 20, 20)]
    with pytest.raises(ValueError, match=r"k and v must be \[21 or more, kv_heads, 16\]"):
        implementation.backend.block_attention(*tensors, plan, 1.0)


@pytest.mark.parametrize(
    ("q_shape", "k_shape", "heads", "message"),
    [
        pytest.param(
            (3, 2, 16),
            (9, 2, 16),
            [0, 1],
            r"q must be \[2, 2 heads, head_dim\], got \[3, 2, 16\]",
            id="signal-tokens",
        ),
        pytest.param(
            (2, 3, 16),
            (9, 2, 16),
            [0, 1],
            r"q must be \[2, 2 heads, head_dim\], got \[2, 3, 16\]",
            id="heads",
        ),
        pytest.param(
            (2, 0, 16),
            (9, 2, 16),
            [],
            r"q must be \[2, 0 heads, head_dim\], got \[2, 0, 16\]",
            id="no-heads",
        ),
        pytest.param(
            (2, 2, 16),
            (8, 2, 16),
            [0, 1],
            r"k must be \[9 or more, kv_heads, 16\], got \[8, 2, 16\]",
            id="tokens",
        ),
        pytest.param(
            (2, 2, 16),
            (9, 2, 32),
            [0, 1],
            r"k must be \[9 or more, kv_heads, 16\], got \[9, 2, 32\]",
            id="head-dim",
        ),
        pytest.param(
            (2, 2, 16),
            (9, 2, 16),
            [0, 2],
            r"kv_head_H must be in 0 \.\. 1, got \[0, 2\]",
            id="kv-head",
        ),
    ],
)
def test_a_reading_refuses_bad_inputs(
    q_shape: tuple[int, ...],
    k_shape: tuple[int, ...],
    heads: list[int],
    message: str,
    implementation: Any,
) -> None:
    backend, device = implementation.backend, implementation.device
    plan = backend.plan_span_lse([SpanRead((7, 9), ((0, 4),))], device)
    q, k = torch.zeros(q_shape, device=device), torch.zeros(k_shape, device=device)
    with pytest.raises(ValueError, match=message):
        backend.span_lse(q, k, heads, plan, 1.0)


def test_a_reading_refuses_two_dtypes(implementation: Any) -> None:
    backend, device = implementation.backend, implementation.device
    plan = backend.plan_span_lse([SpanRead((7, 9), ((0, 4),))], device)
    q = torch.zeros(2, 1, 16, device=device)
    k = torch.zeros(9, 1, 16, device=device, dtype=torch.float16)
    with pytest.raises(ValueError, match=r"dtypes differ: q torch\.float32, k torch\.float16"):
        backend.span_lse(q, k, [0], plan, 1.0)


@pytest.mark.parametrize(
    ("reads", "message"),
    [
        pytest.param([], "a plan needs at least one reading", id="nothing"),
        pytest.param(
            [SpanRead((5, 4), ((0, 1),))], r"reading 0 has the span 5\.\.4", id="signal-backwards"
        ),
        pytest.param(
            [SpanRead((4, 5), ((0, 1),)), SpanRead((4, 5), ((2, 1),))],
            r"reading 1 has the span 2\.\.1",
            id="span-backwards",
        ),
        pytest.param([SpanRead((4, 5), ((-1, 1),))], r"the span -1\.\.1", id="negative"),
    ],
)
def test_a_plan_refuses_what_cannot_be_read(
    reads: list[SpanRead], message: str, implementation: Any
) -> None:
    with pytest.raises(ValueError, match=message):
        implementation.backend.plan_span_lse(reads, implementation.device)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(SpanRead((7, 9), ((0, 4), (12, 14))), id="beyond-the-keys"),
        pytest.param(SpanRead((7, 9), ((8, 11),)), id="on-both-sides-of-the-last-token"),
        pytest.param(SpanRead((9, 11), ((0, 4),)), id="signal-beyond-the-tokens"),
    ],
)
def test_a_plan_refuses_spans_that_are_not_in_the_table(
    read: SpanRead, implementation: Any
) -> None:
    key_rows = KeyRows(10, np.zeros(13, np.int32))
    with pytest.raises(ValueError, match="the table has 10 tokens and 13 keys"):
        implementation.backend.plan_span_lse([read], implementation.device, key_rows)


def test_a_reading_refuses_too_few_rows(implementation: Any) -> None:
    backend, device = implementation.backend, implementation.device
    key_rows = KeyRows(9, np.full(9, 20, np.int32))
    plan = backend.plan_span_lse([SpanRead((7, 9), ((0, 4),))], device, key_rows)
    q, k = torch.zeros(2, 1, 16, device=device), torch.zeros(20, 1, 16, device=device)
    with pytest.raises(ValueError, match=r"k must be \[21 or more, kv_heads, 16\]"):
        backend.span_lse(q, k, [0], plan, 1.0)
