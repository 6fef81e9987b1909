"""What only the Triton kernels of the span log-sum-exp promise: paths, bits, strides, offsets."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from blockrank_server.kernels import span_lse_triton
from blockrank_server.kernels.backend import triton_backend
from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.span_lse import SpanRead


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_long_span_is_read_in_chunks(
    kernels_on: Any, launched: dict[str, tuple[int, ...]]
) -> None:
    backend, device = kernels_on.backend, kernels_on.device
    plan = backend.plan_span_lse([SpanRead((1200, 1201), ((0, 1030), (4, 9)))], device)
    backend.span_lse(random(1, 2, 16).to(device), random(1201, 1, 16).to(device), [0, 0], plan, 1.0)
    assert launched["span_lse_kernel"] == (4, 1, 1)
    assert launched["merge_span_lse_kernel"][0] == 2


def test_reading_does_not_depend_on_batch_mates(kernels_on: Any) -> None:
    backend, device = kernels_on.backend, kernels_on.device
    reads = [SpanRead((700, 702), ((0, 600), (4, 30))), SpanRead((40, 73), ((3, 9), (9, 40)))]
    q, k = random(35, 3, 16).to(device), random(702, 2, 16).to(device)
    both = backend.span_lse(q, k, [0, 1, 1], backend.plan_span_lse(reads, device), 0.25)
    for read, rows, with_mates in zip(reads, (q[:2], q[2:]), both, strict=True):
        plan = backend.plan_span_lse([read], device)
        (alone,) = backend.span_lse(rows, k, [0, 1, 1], plan, 0.25)
        assert torch.equal(alone, with_mates)


def test_tokens_and_heads_may_be_strided(kernels_on: Any) -> None:
    backend, device = kernels_on.backend, kernels_on.device
    q, k = (random(heads, 17, 16, seed=heads).transpose(0, 1) for heads in (4, 2))
    assert not q.is_contiguous()
    plan = backend.plan_span_lse([SpanRead((15, 17), ((4, 9), (9, 15)))], device)
    read = [
        backend.span_lse(rows.to(device), keys.to(device), [0, 0, 1, 1], plan, 0.25)[0]
        for rows, keys in ((q[-2:], k), (q[-2:].contiguous(), k.contiguous()))
    ]
    assert torch.equal(*read)


def test_offsets_pass_2_to_the_31(kernels_on: Any, spread: Callable[..., Any]) -> None:
    near = [random(70, heads, 16, seed=heads).half() for heads in (2, 1)]
    far = spread(near)
    backend, device = kernels_on.backend, kernels_on.device
    for key_rows in (None, KeyRows(70, np.arange(70, dtype=np.int32)[::-1])):
        plan = backend.plan_span_lse([SpanRead((0, 70), ((4, 70), (0, 4)))], device, key_rows)
        read = [
            backend.span_lse(q.to(device), k.to(device), [0, 0], plan, 0.25)[0]
            for q, k in (far, near)
        ]
        assert torch.equal(*read)


@pytest.mark.gpu
def test_new_lengths_compile_nothing_new() -> None:
    """Only head_dim and dtype make a new kernel."""
    device = torch.device("cuda")
    backend = triton_backend()
    kernels = [span_lse_triton.span_lse_kernel, span_lse_triton.merge_span_lse_kernel]
    counts = []
    for num, tail, heads in ((1407, 2, 4), (2086, 48, 3), (25606, 1, 1)):
        q, k = (torch.randn(num, each, 64, device=device).bfloat16() for each in (4, 1))
        plan = backend.plan_span_lse([SpanRead((num - tail, num), ((5, num),))], device)
        backend.span_lse(q[num - tail :, :heads], k, [0] * heads, plan, 0.125)
        # Triton keeps the compiled variants of a device first in this tuple.
        counts.append([len(kernel.device_caches[0][0]) for kernel in kernels])
    assert counts[0] == counts[1] == counts[2]
    assert min(counts[0]) > 0
