"""Computes block-sparse attention over a packed batch, in Triton: the CUDA path, forward only.

Axes: T = packed tokens, H = query heads, K = key/value heads, G = H / K, D = head_dim,
M = rows of a tile (query tokens x G heads), N = keys of a step, W = tiles, F = key ranges,
P = slots for partial results, U = rows of k and v, S = keys of a table of rows.
"""
# Triton reads a kernel's parameters by name; annotations other than constexpr would mislead it.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# A kernel takes pointers, strides and sizes one by one.
# ruff: noqa: PLR0913, PLR0917

import math
from typing import Any

import torch
import triton
import triton.language as tl

from blockrank_server.kernels.block_attention import check_block_attention
from blockrank_server.kernels.block_attention_fp8_triton import round_attention
from blockrank_server.kernels.block_attention_merge_triton import (
    MERGE_ROWS,
    merge_block_attention_kernel,
)
from blockrank_server.kernels.block_attention_tiles import (
    BlockAttentionTilePlan,
    RangeColumn,
    TileColumn,
)
from blockrank_server.kernels.glue import RoundedRows
from blockrank_server.kernels.launch_config import (
    arch_of,
    block_attention_config,
    check_kernel_inputs,
)

# A kernel reads no global but a constexpr.
TILE_COLUMNS = tl.constexpr(len(TileColumn))
TILE_Q_START = tl.constexpr(TileColumn.Q_START)
TILE_Q_STOP = tl.constexpr(TileColumn.Q_STOP)
TILE_OWN_START = tl.constexpr(TileColumn.OWN_START)
TILE_FIRST_RANGE = tl.constexpr(TileColumn.FIRST_RANGE)
TILE_LAST_RANGE = tl.constexpr(TileColumn.LAST_RANGE)
TILE_SLOT = tl.constexpr(TileColumn.SLOT)
RANGE_COLUMNS = tl.constexpr(len(RangeColumn))
RANGE_KEY_START = tl.constexpr(RangeColumn.KEY_START)
RANGE_KEY_STOP = tl.constexpr(RangeColumn.KEY_STOP)


@triton.jit
def _sweep(
    acc_MD,
    total_M,
    peak_M,
    q_MD,
    k_ptr,  # [U, D] keys of one KV head
    v_ptr,  # [U, D] its values
    rows_ptr,  # [S] int32 row of each key, or None: that of its number
    start,
    stop,
    limit_M,
    scale_log2e,
    stride_kt,
    stride_vt,
    BLOCK_N: tl.constexpr,
    MASKED: tl.constexpr,  # False where every row sees every key and the last block is whole
):
    """Fold keys start .. stop into the running softmax; row m sees the keys below limit_M[m]."""
    steps_N = tl.arange(0, BLOCK_N)
    dims_D = tl.arange(0, acc_MD.shape[1])
    for first in tl.range(start, stop, BLOCK_N):
        keys_N = first + steps_N
        if rows_ptr is None:
            row_N = keys_N
        elif MASKED:
            row_N = tl.load(rows_ptr + keys_N, mask=keys_N < stop, other=0)
        else:
            row_N = tl.load(rows_ptr + keys_N)
        row_N1 = row_N.to(tl.int64)[:, None]  # row * stride passes 2**31
        k_at_ND = k_ptr + row_N1 * stride_kt + dims_D[None, :]
        v_at_ND = v_ptr + row_N1 * stride_vt + dims_D[None, :]
        if MASKED:
            k_ND = tl.load(k_at_ND, mask=(keys_N < stop)[:, None], other=0.0)
            v_ND = tl.load(v_at_ND, mask=(keys_N < stop)[:, None], other=0.0)
        else:
            k_ND = tl.load(k_at_ND)
            v_ND = tl.load(v_at_ND)
        # ieee: a float32 product must not drop to tf32; the other dtypes ignore it.
        logits_MN = tl.dot(q_MD, tl.trans(k_ND), input_precision="ieee") * scale_log2e
        if MASKED:
            logits_MN = tl.where(keys_N[None, :] < limit_M[:, None], logits_MN, -float("inf"))
        # Never -inf: the first key of the first step is visible to every row.
        higher_M = tl.maximum(peak_M, tl.max(logits_MN, 1))
        shrink_M = tl.exp2(peak_M - higher_M)
        weights_MN = tl.exp2(logits_MN - higher_M[:, None])
        total_M = total_M * shrink_M + tl.sum(weights_MN, 1)
        acc_MD = acc_MD * shrink_M[:, None]
        acc_MD = tl.dot(weights_MN.to(v_ND.dtype), v_ND, acc_MD, input_precision="ieee")
        peak_M = higher_M
    return acc_MD, total_M, peak_M


@triton.jit
def block_attention_kernel(
    q_ptr,  # [T, H, D]    fp32/bf16/fp16 queries, D contiguous
    k_ptr,  # [U, K, D]    keys of the same dtype, D contiguous
    v_ptr,  # [U, K, D]    values likewise
    rows_ptr,  # [S]          int32 row of each key, or None: that of its number
    tiles_ptr,  # [W, 8]       int32 tiles, columns as in TileColumn
    ranges_ptr,  # [F, 2]       int32 key ranges, columns as in RangeColumn
    out_ptr,  # [T, H, D]    contiguous, in the dtype of q; tiles without a slot write here
    part_ptr,  # [P, K, M, D] fp32 weighted mean of the values a slot's keys hold
    part_lse_ptr,  # [P, K, M]    fp32 base-2 log-sum-exp of the slot's scaled logits
    scale_log2e,  # scale * log2(e), since exp2 is the fast exponential
    stride_qt,  # elements from one token to the next, and from one head to the next
    stride_qh,
    stride_kt,
    stride_kh,
    stride_vt,
    stride_vh,
    GROUP: tl.constexpr,  # query heads per KV head, any number up to M
    HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """out = softmax over the visible keys of (scale * q . k), times v: one tile, one KV head."""
    kv = tl.program_id(1).to(tl.int64)
    tile_ptr = tiles_ptr + tl.program_id(0) * TILE_COLUMNS
    q_start, q_stop = tl.load(tile_ptr + TILE_Q_START), tl.load(tile_ptr + TILE_Q_STOP)
    own_start = tl.load(tile_ptr + TILE_OWN_START)
    first_range = tl.load(tile_ptr + TILE_FIRST_RANGE)
    last_range = tl.load(tile_ptr + TILE_LAST_RANGE)
    slot = tl.load(tile_ptr + TILE_SLOT).to(tl.int64)

    rows_M = tl.arange(0, BLOCK_M)
    dims_D = tl.arange(0, HEAD_DIM)
    query_M = q_start + rows_M // GROUP
    real_M = query_M < q_stop
    head_M = kv * GROUP + rows_M % GROUP
    q_at_M = q_ptr + query_M.to(tl.int64) * stride_qt + head_M * stride_qh
    q_MD = tl.load(q_at_M[:, None] + dims_D[None, :], mask=real_M[:, None], other=0.0)
    acc_MD = tl.full((BLOCK_M, HEAD_DIM), 0.0, tl.float32)
    total_M = tl.full((BLOCK_M,), 0.0, tl.float32)
    peak_M = tl.full((BLOCK_M,), -float("inf"), tl.float32)
    k_ptr += kv * stride_kh
    v_ptr += kv * stride_vh

    for i in range(first_range, last_range + 1):
        own = i == last_range
        range_ptr = ranges_ptr + i * RANGE_COLUMNS
        start = tl.load(range_ptr + RANGE_KEY_START, mask=i < last_range, other=own_start)
        stop = tl.load(range_ptr + RANGE_KEY_STOP, mask=i < last_range, other=q_stop)
        limit_M = tl.where(own, query_M + 1, stop)
        # Keys below this are seen by the tile's first query, so by all: whole blocks of them
        # need no mask.
        sure = tl.where(own, q_start + 1, stop)
        masked = start + tl.maximum(sure - start, 0) // BLOCK_N * BLOCK_N
        acc_MD, total_M, peak_M = _sweep(
            acc_MD, total_M, peak_M, q_MD, k_ptr, v_ptr, rows_ptr, start, masked, limit_M,
            scale_log2e, stride_kt, stride_vt, BLOCK_N, MASKED=False,
        )  # fmt: skip
        acc_MD, total_M, peak_M = _sweep(
            acc_MD, total_M, peak_M, q_MD, k_ptr, v_ptr, rows_ptr, masked, stop, limit_M,
            scale_log2e, stride_kt, stride_vt, BLOCK_N, MASKED=True,
        )  # fmt: skip

    mean_MD = acc_MD / total_M[:, None]
    if slot < 0:
        num_heads = tl.num_programs(1) * GROUP
        out_M = (query_M.to(tl.int64) * num_heads + head_M) * HEAD_DIM
        out_at_MD = out_ptr + out_M[:, None] + dims_D[None, :]
        tl.store(out_at_MD, mean_MD.to(out_ptr.dtype.element_ty), mask=real_M[:, None])
    else:
        part_M = (slot * tl.num_programs(1) + kv) * BLOCK_M + rows_M
        tl.store(part_ptr + part_M[:, None] * HEAD_DIM + dims_D[None, :], mean_MD)
        tl.store(part_lse_ptr + part_M, peak_M + tl.log2(total_M))


def block_attention(
    q_THD: torch.Tensor,
    k_UKD: torch.Tensor,
    v_UKD: torch.Tensor,
    plan: BlockAttentionTilePlan,
    scale: float,
) -> torch.Tensor:
    """Compute softmax attention in which each token sees what its segment says.

    Args:
        q_THD: [T, H, D] queries, fp32, bf16 or fp16; D contiguous, a power of two, 16 .. 256.
        k_UKD: [U, K, D] keys of the same dtype, D contiguous; H is a multiple of K.
        v_UKD: [U, K, D] values likewise.
        plan: must be of the same T, of U rows at most, and on the same device.
        scale: multiplies q . k, 1 / sqrt(D) as a rule.

    Returns:
        [T, H, D] in the queries' dtype, contiguous. Sums are kept in fp32.

    Raises:
        ValueError: a shape, dtype or stride is not as above, or a gradient is wanted.

    Source:
        Figure 2 of BlockRank, arXiv:2510.05396; FlashAttention-2, arXiv:2307.08691; splits along
        the keys as in Flash-Decoding (https://pytorch.org/blog/flash-decoding).
    """
    out_THD, part_PKMD, part_lse_PKM, merges_X4 = _launch(q_THD, k_UKD, v_UKD, plan, scale)
    if len(merges_X4):
        num_kv, block_m, dim = part_PKMD.shape[1:]
        merge_block_attention_kernel[len(merges_X4), num_kv, triton.cdiv(block_m, MERGE_ROWS)](
            part_PKMD, part_lse_PKM, merges_X4, out_THD, GROUP=out_THD.shape[1] // num_kv,
            HEAD_DIM=dim, BLOCK_M=block_m, ROWS=MERGE_ROWS, num_warps=4,
        )  # fmt: skip
    return out_THD


def block_attention_fp8(*inputs: Any) -> RoundedRows:
    """Do as block_attention does, and round each token's heads together to float8: [T, H * D]."""
    return round_attention(*_launch(*inputs))


def _launch(
    q_THD: torch.Tensor,
    k_UKD: torch.Tensor,
    v_UKD: torch.Tensor,
    plan: BlockAttentionTilePlan,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the result, but for split query blocks, their parts, and the table that joins them."""
    check_block_attention(q_THD, k_UKD, v_UKD, plan.num_tokens, plan.key_rows)
    check_kernel_inputs(q=q_THD, k=k_UKD, v=v_UKD)
    num_tokens, num_heads, dim = q_THD.shape
    num_kv, group = k_UKD.shape[1], num_heads // k_UKD.shape[1]
    config = block_attention_config(arch_of(q_THD.device), dim, q_THD.dtype, group)
    if group > config.block_m:
        raise ValueError(f"at most {config.block_m} query heads per KV head, got {group}")
    tables = plan.tables(config, group=group, num_kv=num_kv)
    out_THD = torch.empty((num_tokens, num_heads, dim), dtype=q_THD.dtype, device=q_THD.device)
    slots = (tables.num_slots, num_kv, config.block_m)
    part_PKMD = torch.empty((*slots, dim), dtype=torch.float32, device=q_THD.device)
    part_lse_PKM = torch.empty(slots, dtype=torch.float32, device=q_THD.device)
    if out_THD.numel():
        block_attention_kernel[(len(tables.tiles_W8), num_kv)](
            q_THD, k_UKD, v_UKD, plan.rows_S, tables.tiles_W8, tables.ranges_F2, out_THD,
            part_PKMD, part_lse_PKM, scale * math.log2(math.e), *q_THD.stride()[:2],
            *k_UKD.stride()[:2], *v_UKD.stride()[:2], GROUP=group, HEAD_DIM=dim,
            BLOCK_M=config.block_m, BLOCK_N=config.block_n, num_warps=config.num_warps,
            num_stages=config.num_stages,
        )  # fmt: skip
    return out_THD, part_PKMD, part_lse_PKM, tables.merges_X4
