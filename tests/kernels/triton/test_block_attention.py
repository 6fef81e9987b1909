"""What only the Triton kernels of block attention promise: paths, bits, strides, offsets."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from blockrank_server.kernels import block_attention_merge_triton, block_attention_triton
from blockrank_server.kernels.backend import triton_backend
from blockrank_server.kernels.glue import round_rows
from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.launch_config import arch_of, block_attention_config
from blockrank_server.kernels.segments import Segment

LayOut = Callable[..., list[Segment]]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attend(
    kernels_on: Any,
    segments: list[Segment],
    *tensors: torch.Tensor,
    key_rows: KeyRows | None = None,
) -> torch.Tensor:
    backend, device = kernels_on.backend, kernels_on.device
    plan = backend.plan_block_attention(segments, segments[-1].stop, device, key_rows)
    out: torch.Tensor = backend.block_attention(*(x.to(device) for x in tensors), plan, 0.25)
    return out.cpu()


def test_a_long_list_splits_the_tail(
    kernels_on: Any, laid_out: LayOut, launched: dict[str, tuple[int, ...]]
) -> None:
    tile = block_attention_config(arch_of(kernels_on.device), 16, kernels_on.dtype)
    segments = laid_out(0, 4, [tile.split_keys, tile.split_keys, 3], 2)
    heads = random(segments[-1].stop, 1, 16)
    attend(kernels_on, segments, heads, heads, heads)
    block_q = tile.block_m
    whole = sum(-(-segment.num_tokens // block_q) for segment in segments[:-1])
    assert launched["block_attention_kernel"] == (whole + 2, 1)  # the tail's one block, in 2 splits
    assert launched["merge_block_attention_kernel"][:2] == (1, 1)


def test_a_short_list_needs_no_merge(
    kernels_on: Any, laid_out: LayOut, launched: dict[str, tuple[int, ...]]
) -> None:
    segments = laid_out(0, 4, [5, 3, 0], 2)
    attend(kernels_on, segments, *(random(14, heads, 16) for heads in (6, 2, 2)))
    assert launched == {"block_attention_kernel": (4, 2)}


def test_attention_does_not_depend_on_batch_mates(kernels_on: Any, laid_out: LayOut) -> None:
    """To the bit: a request's tiles and splits come from its own segments."""
    tile = block_attention_config(arch_of(kernels_on.device), 16, kernels_on.dtype)
    alone = laid_out(0, 4, [tile.split_keys, tile.split_keys + 3, 3], 2)
    num = alone[-1].stop
    batch = [*alone, *laid_out(num, 9, [tile.split_keys] * 3, 40), Segment(0, 0)]
    batch[-1] = Segment(batch[-2].stop, batch[-2].stop + 50)
    tensors = [random(batch[-1].stop, heads, 16, seed=heads) for heads in (2, 1)]
    q, k, v = tensors[0], tensors[1], tensors[1].flip(-1)
    with_mates = attend(kernels_on, batch, q, k, v)[:num]
    assert torch.equal(attend(kernels_on, alone, q[:num], k[:num], v[:num]), with_mates)


def test_rows_in_order_change_no_bit(kernels_on: Any, laid_out: LayOut) -> None:
    tile = block_attention_config(arch_of(kernels_on.device), 16, kernels_on.dtype)
    segments = laid_out(0, 4, [tile.split_keys, tile.split_keys, 3, 20], 2)
    num = segments[-1].stop
    q, k, v = (random(num, heads, 16, seed=i) for i, heads in enumerate((4, 2, 2)))
    in_order = KeyRows(num, np.arange(num, dtype=np.int32))
    found = attend(kernels_on, segments, q, k, v, key_rows=in_order)
    assert torch.equal(found, attend(kernels_on, segments, q, k, v))


def test_tokens_and_heads_may_be_strided(kernels_on: Any, laid_out: LayOut) -> None:
    segments = laid_out(0, 4, [5, 6], 2)
    num = segments[-1].stop
    heads_first = [random(heads, num, 16, seed=heads) for heads in (4, 2)]
    q, k = (x.transpose(0, 1) for x in heads_first)
    v = torch.cat([k, k], dim=-1)[..., 16:]
    assert not q.is_contiguous()
    found = attend(kernels_on, segments, q, k, v)
    assert torch.equal(
        found, attend(kernels_on, segments, q.contiguous(), k.contiguous(), v.contiguous())
    )


def test_offsets_pass_2_to_the_31(kernels_on: Any, spread: Callable[..., Any]) -> None:
    near = [random(70, heads, 16, seed=heads).half() for heads in (2, 1, 1)]
    far = spread(near)
    segments = [Segment(0, 4), Segment(4, 60, ((0, 4),)), Segment(60, 70, ((0, 60),))]
    assert torch.equal(attend(kernels_on, segments, *far), attend(kernels_on, segments, *near))
    rows = KeyRows(70, np.arange(70, dtype=np.int32)[::-1])
    found, expected = (attend(kernels_on, segments, *each, key_rows=rows) for each in (far, near))
    assert torch.equal(found, expected)


def test_more_heads_than_a_tile_has_rows_are_refused(kernels_on: Any) -> None:
    backend, device = kernels_on.backend, kernels_on.device
    plan = backend.plan_block_attention([Segment(0, 2)], 2, device)
    k = torch.zeros(2, 1, 16, device=device)
    with pytest.raises(ValueError, match=r"at most \d+ query heads per KV head, got 200"):
        backend.block_attention(torch.zeros(2, 200, 16, device=device), k, k, plan, 1.0)


@pytest.mark.gpu
def test_new_lengths_compile_nothing_new(laid_out: LayOut) -> None:
    """Only head_dim, heads per KV head and dtype make a new kernel."""
    device = torch.device("cuda")
    backend = triton_backend()
    kernels = [
        block_attention_triton.block_attention_kernel,
        block_attention_merge_triton.merge_block_attention_kernel,
    ]
    counts = []
    for documents, tail in (([700, 700], 2), ([33, 1999, 0, 1], 48), ([640] * 40, 1)):
        segments = laid_out(0, 5, documents, tail)
        num = segments[-1].stop
        q, k = (torch.randn(num, each, 64, device=device).bfloat16() for each in (4, 1))
        plan = backend.plan_block_attention(segments, num, device)
        backend.block_attention(q, k, k, plan, 0.125)
        # Triton keeps the compiled variants of a device first in this tuple.
        counts.append([len(kernel.device_caches[0][0]) for kernel in kernels])
    assert counts[0] == counts[1] == counts[2]
    assert min(counts[0]) > 0


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float16, pytest.param(torch.bfloat16, marks=pytest.mark.gpu)],
    ids=str,
)
def test_in_float8_it_is_the_rounded_result(
    dtype: torch.dtype, kernels_on: Any, laid_out: LayOut
) -> None:
    """With a tail that is split, in several query blocks, and rows that are not."""
    backend, device = kernels_on.backend, kernels_on.device
    tile = block_attention_config(arch_of(device), 16, dtype)
    segments = laid_out(0, 4, [tile.split_keys, tile.split_keys + 3, 3], 40)
    q, k, v = (
        random(segments[-1].stop, heads, 16, seed=heads).to(device, dtype) for heads in (6, 2, 2)
    )
    plan = backend.plan_block_attention(segments, segments[-1].stop, device)
    expected = round_rows(backend.block_attention(q, k, v, plan, 0.25).flatten(1).cpu())
    found = backend.block_attention_fp8(q, k, v, plan, 0.25)
    torch.testing.assert_close(found.scale_T1.cpu(), expected.scale_T1, rtol=1e-6, atol=0)
    values, wanted = found.values_TC.cpu().float(), expected.values_TC.float()
    # The scale may differ by its last bit, which can turn a value that lies in the middle.
    assert (values != wanted).float().mean() < 1e-3
    assert ((values - wanted).abs() <= wanted.abs() / 8 + 2**-9).all()
