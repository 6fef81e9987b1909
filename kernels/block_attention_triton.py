"""Block-sparse attention over a packed batch, in Triton: the CUDA path, forward only.

Axes: T = packed tokens, H = query heads, K = key/value heads, G = H / K, D = head_dim,
M = rows of a tile (query tokens x G heads), N = keys of a step, W = tiles, F = key ranges,
P = slots for partial results, X = merges.
"""
# Triton reads a kernel's parameters by name; annotations other than constexpr would mislead it.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# A kernel takes pointers, strides and sizes one by one.
# ruff: noqa: PLR0913, PLR0917

import math

import torch
import triton
import triton.language as tl

from blockrank_server.kernels.block_attention import check_block_attention
from blockrank_server.kernels.block_attention_tiles import BlockAttentionTilePlan
from blockrank_server.kernels.launch_config import (
    arch_of,
    block_attention_config,
    check_kernel_inputs,
)

MERGE_ROWS = 16


@triton.jit
def _sweep(
    acc_MD,
    total_M,
    peak_M,
    q_MD,
    k_ptr,  # [T, D] keys of one KV head
    v_ptr,  # [T, D] its values
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
        keys_N1 = keys_N.to(tl.int64)[:, None]  # token * stride passes 2**31
        k_at_ND = k_ptr + keys_N1 * stride_kt + dims_D[None, :]
        v_at_ND = v_ptr + keys_N1 * stride_vt + dims_D[None, :]
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
    k_ptr,  # [T, K, D]    keys of the same dtype, D contiguous
    v_ptr,  # [T, K, D]    values likewise
    tiles_ptr,  # [W, 8]       int32 tiles, columns as in BlockAttentionTables
    ranges_ptr,  # [F, 2]       int32 start and stop of key ranges
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
    tile_ptr = tiles_ptr + tl.program_id(0) * 8
    q_start, q_stop, own_start = tl.load(tile_ptr), tl.load(tile_ptr + 1), tl.load(tile_ptr + 2)
    first_range, last_range = tl.load(tile_ptr + 3), tl.load(tile_ptr + 4)
    slot = tl.load(tile_ptr + 5).to(tl.int64)

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
        start = tl.load(ranges_ptr + i * 2, mask=i < last_range, other=own_start)
        stop = tl.load(ranges_ptr + i * 2 + 1, mask=i < last_range, other=q_stop)
        limit_M = tl.where(own, query_M + 1, stop)
        # Keys below this are seen by the tile's first query, so by all: whole blocks of them
        # need no mask.
        sure = tl.where(own, q_start + 1, stop)
        masked = start + tl.maximum(sure - start, 0) // BLOCK_N * BLOCK_N
        acc_MD, total_M, peak_M = _sweep(
            acc_MD, total_M, peak_M, q_MD, k_ptr, v_ptr, start, masked, limit_M,
            scale_log2e, stride_kt, stride_vt, BLOCK_N, MASKED=False,
        )  # fmt: skip
        acc_MD, total_M, peak_M = _sweep(
            acc_MD, total_M, peak_M, q_MD, k_ptr, v_ptr, masked, stop, limit_M,
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


@triton.jit
def merge_block_attention_kernel(
    part_ptr,  # [P, K, M, D] fp32 weighted mean of the values a slot's keys hold
    part_lse_ptr,  # [P, K, M]    fp32 base-2 log-sum-exp of the slot's scaled logits
    merges_ptr,  # [X, 4]       int32 merges, columns as in BlockAttentionTables
    out_ptr,  # [T, H, D]    contiguous, in the dtype of q
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    ROWS: tl.constexpr,  # rows of a program: fewer than M, so that a short tail fills the card
):
    """out = sum over slots of 2**(lse - peak) * mean, divided by the sum of the weights."""
    kv = tl.program_id(1).to(tl.int64)
    merge_ptr = merges_ptr + tl.program_id(0) * 4
    q_start, q_stop = tl.load(merge_ptr), tl.load(merge_ptr + 1)
    first_slot, last_slot = tl.load(merge_ptr + 2), tl.load(merge_ptr + 3)
    rows_R = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
    dims_D = tl.arange(0, HEAD_DIM)
    query_R = q_start + rows_R // GROUP
    real_R = query_R < q_stop
    acc_RD = tl.full((ROWS, HEAD_DIM), 0.0, tl.float32)
    total_R = tl.full((ROWS,), 0.0, tl.float32)
    peak_R = tl.full((ROWS,), -float("inf"), tl.float32)
    for slot in range(first_slot, last_slot):
        part_R = (slot * tl.num_programs(1) + kv) * BLOCK_M + rows_R
        lse_R = tl.load(part_lse_ptr + part_R, mask=real_R, other=0.0)
        part_at_RD = part_ptr + part_R[:, None] * HEAD_DIM + dims_D[None, :]
        mean_RD = tl.load(part_at_RD, mask=real_R[:, None], other=0.0)
        higher_R = tl.maximum(peak_R, lse_R)
        shrink_R = tl.exp2(peak_R - higher_R)
        weight_R = tl.exp2(lse_R - higher_R)
        acc_RD = acc_RD * shrink_R[:, None] + mean_RD * weight_R[:, None]
        total_R = total_R * shrink_R + weight_R
        peak_R = higher_R
    head_R = kv * GROUP + rows_R % GROUP
    out_R = (query_R.to(tl.int64) * (tl.num_programs(1) * GROUP) + head_R) * HEAD_DIM
    out_RD = (acc_RD / total_R[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + out_R[:, None] + dims_D[None, :], out_RD, mask=real_R[:, None])


def block_attention(
    q_THD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    plan: BlockAttentionTilePlan,
    scale: float,
) -> torch.Tensor:
    """Softmax attention in which each token sees what its segment says.

    Args:
        q_THD: [T, H, D] queries, fp32, bf16 or fp16; D contiguous, a power of two, 16 .. 256.
        k_TKD: [T, K, D] keys of the same dtype, D contiguous; H is a multiple of K.
        v_TKD: [T, K, D] values likewise.
        plan: of the same T, on the same device.
        scale: multiplies q . k, 1 / sqrt(D) as a rule.

    Returns:
        [T, H, D] in the queries' dtype, contiguous. Sums are kept in fp32.

    Raises:
        ValueError: a shape, dtype or stride is not as above, or a gradient is wanted.

    Source:
        Figure 2 of BlockRank, arXiv:2510.05396; FlashAttention-2, arXiv:2307.08691; splits along
        the keys as in Flash-Decoding (https://pytorch.org/blog/flash-decoding).
    """
    check_block_attention(q_THD, k_TKD, v_TKD, plan.num_tokens)
    check_kernel_inputs(q=q_THD, k=k_TKD, v=v_TKD)
    num_tokens, num_heads, dim = q_THD.shape
    num_kv, group = k_TKD.shape[1], num_heads // k_TKD.shape[1]
    tile = block_attention_config(arch_of(q_THD.device), dim, q_THD.dtype)
    if group > tile.block_m:
        raise ValueError(f"at most {tile.block_m} query heads per KV head, got {group}")
    tables = plan.tables(tile, group=group, num_kv=num_kv)
    out_THD = torch.empty((num_tokens, num_heads, dim), dtype=q_THD.dtype, device=q_THD.device)
    if 0 in out_THD.shape:
        return out_THD
    slots = (tables.num_slots, num_kv, tile.block_m)
    part_PKMD = torch.empty((*slots, dim), dtype=torch.float32, device=q_THD.device)
    part_lse_PKM = torch.empty(slots, dtype=torch.float32, device=q_THD.device)
    block_attention_kernel[(len(tables.tiles_W8), num_kv)](
        q_THD, k_TKD, v_TKD, tables.tiles_W8, tables.ranges_F2, out_THD, part_PKMD, part_lse_PKM,
        scale * math.log2(math.e), *q_THD.stride()[:2], *k_TKD.stride()[:2], *v_TKD.stride()[:2],
        GROUP=group, HEAD_DIM=dim, BLOCK_M=tile.block_m, BLOCK_N=tile.block_n,
        num_warps=tile.num_warps, num_stages=tile.num_stages,
    )  # fmt: skip
    if len(tables.merges_X4):
        merge_block_attention_kernel[(len(tables.merges_X4), num_kv, triton.cdiv(tile.block_m, MERGE_ROWS))](
            part_PKMD, part_lse_PKM, tables.merges_X4, out_THD,
            GROUP=group, HEAD_DIM=dim, BLOCK_M=tile.block_m, ROWS=MERGE_ROWS, num_warps=4,
        )  # fmt: skip
    return out_THD
