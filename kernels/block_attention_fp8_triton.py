"""Rounds the result of block attention to float8, in Triton, and joins what was split on the way.

A row's scale comes from all of its heads, which no program of the attention has together. So one
more kernel reads each row; it takes the place of the one that joins partial results.

Axes: T = packed tokens, H = query heads, K = key/value heads, G = H / K, D = head_dim,
M = rows of a tile (query tokens x G heads), P = slots, X = merges, N = places of a block, of which
the first are a row's H x D.
"""
# Triton reads a kernel's parameters by name; annotations other than constexpr would mislead it.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# A kernel takes pointers, strides and sizes one by one.
# ruff: noqa: PLR0913, PLR0917

import torch
import triton
import triton.language as tl

from blockrank_server.kernels.block_attention_merge_triton import (
    MERGE_COLUMNS,
    MERGE_FIRST_SLOT,
    MERGE_LAST_SLOT,
    MERGE_Q_START,
    MERGE_Q_STOP,
)
from blockrank_server.kernels.glue import RoundedRows
from blockrank_server.kernels.glue_triton import finished, rows_like, store_row
from blockrank_server.kernels.launch_config import row_config

BLOCK_X = 64
WARPS = 2  # for each of a kernel that holds a row alone: joining takes registers, too


@triton.jit
def _find_merge(merges_ptr, num_merges, token, BLOCK_X: tl.constexpr):
    """Return (start, first slot, last slot) of a token's query block; all 0 where it has none."""
    start, first_slot, last_slot = token * 0, token * 0, token * 0
    for first in range(0, num_merges, BLOCK_X):
        merge_X = first + tl.arange(0, BLOCK_X)
        real_X = merge_X < num_merges
        merge_ptr_X = merges_ptr + merge_X * MERGE_COLUMNS
        start_X = tl.load(merge_ptr_X + MERGE_Q_START, mask=real_X, other=0)
        stop_X = tl.load(merge_ptr_X + MERGE_Q_STOP, mask=real_X, other=0)
        mine_X = (start_X <= token) & (token < stop_X)
        first_X = tl.load(merge_ptr_X + MERGE_FIRST_SLOT, mask=mine_X, other=0)
        last_X = tl.load(merge_ptr_X + MERGE_LAST_SLOT, mask=mine_X, other=0)
        start += tl.sum(tl.where(mine_X, start_X, 0), 0)
        first_slot += tl.sum(first_X, 0)
        last_slot += tl.sum(last_X, 0)
    return start, first_slot, last_slot


@triton.jit(do_not_specialize=["num_merges"])
def round_attention_kernel(
    heads_ptr,  # [T, H, D]    fp32/bf16/fp16 result of the attention, but for split query blocks
    part_ptr,  # [P, K, M, D] fp32 weighted mean of the values a slot's keys hold
    part_lse_ptr,  # [P, K, M]    fp32 base-2 log-sum-exp of the slot's scaled logits
    merges_ptr,  # [X, 4]       int32 merges, columns as in MergeColumn
    out_ptr,  # [T, H * D]   float8
    scale_ptr,  # [T]          fp32
    num_merges,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    SIZE: tl.constexpr,  # H * D
    BLOCK: tl.constexpr,  # a power of two, H * D or more
    BLOCK_X: tl.constexpr,
):
    """out * scale = heads, each row's largest as float8's: one token."""
    token = tl.program_id(0)
    n_N = tl.arange(0, BLOCK)
    mask_N = n_N < SIZE
    dtype = heads_ptr.dtype.element_ty
    start, first_slot, last_slot = _find_merge(merges_ptr, num_merges, token, BLOCK_X)
    if first_slot == last_slot:
        at_N = token.to(tl.int64) * SIZE + n_N
        row_N = tl.load(heads_ptr + at_N, mask=mask_N, other=0.0).to(tl.float32)
    else:
        head_N = n_N // HEAD_DIM
        place_N = head_N // GROUP * BLOCK_M + (token - start) * GROUP + head_N % GROUP
        place_N = place_N.to(tl.int64)  # times D it passes 2**31
        row_N = tl.full((BLOCK,), 0.0, tl.float32)
        total_N = tl.full((BLOCK,), 0.0, tl.float32)
        peak_N = tl.full((BLOCK,), -float("inf"), tl.float32)
        for slot in range(first_slot, last_slot):
            part_N = slot * (SIZE // HEAD_DIM // GROUP * BLOCK_M) + place_N
            lse_N = tl.load(part_lse_ptr + part_N, mask=mask_N, other=0.0)
            mean_at_N = part_ptr + part_N * HEAD_DIM + n_N % HEAD_DIM
            mean_N = tl.load(mean_at_N, mask=mask_N, other=0.0)
            higher_N = tl.maximum(peak_N, lse_N)
            shrink_N, weight_N = tl.exp2(peak_N - higher_N), tl.exp2(lse_N - higher_N)
            row_N = row_N * shrink_N + mean_N * weight_N
            total_N = total_N * shrink_N + weight_N
            peak_N = higher_N
        row_N = (row_N / total_N).to(dtype).to(tl.float32)
    store_row(row_N, out_ptr, scale_ptr, token.to(tl.int64), n_N, mask_N, SIZE, FP8=True)


def round_attention(
    heads_THD: torch.Tensor,
    part_PKMD: torch.Tensor,
    part_lse_PKM: torch.Tensor,
    merges_X4: torch.Tensor,
) -> RoundedRows:
    """Join the partial results of split query blocks, and round every token's heads to float8."""
    num_tokens, num_heads, dim = heads_THD.shape
    _, num_kv, block_m, _ = part_PKMD.shape
    size = num_heads * dim
    config = row_config(size)
    out_TC, scale_T1 = rows_like(heads_THD, size, to_fp8=True)
    round_attention_kernel[(num_tokens,)](
        heads_THD, part_PKMD, part_lse_PKM, merges_X4, out_TC, scale_T1, len(merges_X4),
        GROUP=num_heads // num_kv, HEAD_DIM=dim, BLOCK_M=block_m, SIZE=size, BLOCK=config.block,
        BLOCK_X=BLOCK_X, num_warps=WARPS * config.num_warps,
    )  # fmt: skip
    rounded = finished(out_TC, scale_T1, to_fp8=True)
    assert isinstance(rounded, RoundedRows)
    return rounded
