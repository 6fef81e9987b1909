"""Joins the partial results of a query block whose keys were split, in Triton.

Axes: T = packed tokens, H = query heads, K = key/value heads, G = H / K, D = head_dim,
M = rows of a tile (query tokens x G heads), R = those of one program, P = slots, X = merges.
"""
# Triton reads a kernel's parameters by name; annotations other than constexpr would mislead it.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False

import triton
import triton.language as tl

from blockrank_server.kernels.block_attention_tiles import MergeColumn

MERGE_ROWS = 16

# A kernel reads no global but a constexpr.
MERGE_COLUMNS = tl.constexpr(len(MergeColumn))
MERGE_Q_START = tl.constexpr(MergeColumn.Q_START)
MERGE_Q_STOP = tl.constexpr(MergeColumn.Q_STOP)
MERGE_FIRST_SLOT = tl.constexpr(MergeColumn.FIRST_SLOT)
MERGE_LAST_SLOT = tl.constexpr(MergeColumn.LAST_SLOT)


@triton.jit
def merge_block_attention_kernel(
    part_ptr,  # [P, K, M, D] fp32 weighted mean of the values a slot's keys hold
    part_lse_ptr,  # [P, K, M]    fp32 base-2 log-sum-exp of the slot's scaled logits
    merges_ptr,  # [X, 4]       int32 merges, columns as in MergeColumn
    out_ptr,  # [T, H, D]    contiguous, in the dtype of q
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    ROWS: tl.constexpr,  # rows of a program: fewer than M, so that a short tail fills the card
):
    """out = sum over slots of 2**(lse - peak) * mean, divided by the sum of the weights."""
    kv = tl.program_id(1).to(tl.int64)
    merge_ptr = merges_ptr + tl.program_id(0) * MERGE_COLUMNS
    q_start, q_stop = tl.load(merge_ptr + MERGE_Q_START), tl.load(merge_ptr + MERGE_Q_STOP)
    first_slot = tl.load(merge_ptr + MERGE_FIRST_SLOT)
    last_slot = tl.load(merge_ptr + MERGE_LAST_SLOT)
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
