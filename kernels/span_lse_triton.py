"""Measures how strongly a few query tokens attend to each span of keys, in Triton: the CUDA path.

Axes: R = signal tokens of the batch, r = of one request, T = packed tokens, H = heads read,
K = key/value heads, Y = those read, D = head_dim, M = rows of a tile (signal tokens x heads of one
KV head), N = keys of a step, C = chunks, S = spans of the batch, B = chunks of a merge's step,
U = rows of k, V = keys of a table of rows.
"""
# Triton reads a kernel's parameters by name; annotations other than constexpr would mislead it.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# A kernel takes pointers, strides and sizes one by one.
# ruff: noqa: PLR0913, PLR0917

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from blockrank_server.kernels.launch_config import arch_of, check_kernel_inputs, span_lse_config
from blockrank_server.kernels.span_lse import check_span_lse
from blockrank_server.kernels.span_lse_tiles import (
    ChunkColumn,
    GroupColumn,
    SpanColumn,
    SpanLseTilePlan,
    head_groups,
)

MERGE_ROWS, MERGE_CHUNKS = 32, 16

# A kernel reads no global but a constexpr.
LN_2 = tl.constexpr(math.log(2))
CHUNK_COLUMNS = tl.constexpr(len(ChunkColumn))
CHUNK_KEY_START = tl.constexpr(ChunkColumn.KEY_START)
CHUNK_KEY_STOP = tl.constexpr(ChunkColumn.KEY_STOP)
CHUNK_FIRST_ROW = tl.constexpr(ChunkColumn.FIRST_ROW)
CHUNK_NUM_SIGNAL = tl.constexpr(ChunkColumn.NUM_SIGNAL)
CHUNK_FIRST_TOKEN = tl.constexpr(ChunkColumn.FIRST_TOKEN)
CHUNK_PLACE = tl.constexpr(ChunkColumn.PLACE)
CHUNK_NUM_CHUNKS = tl.constexpr(ChunkColumn.NUM_CHUNKS)
CHUNK_CHUNKS_BEFORE = tl.constexpr(ChunkColumn.CHUNKS_BEFORE)
SPAN_COLUMNS = tl.constexpr(len(SpanColumn))
SPAN_FIRST_CHUNK = tl.constexpr(SpanColumn.FIRST_CHUNK)
SPAN_LAST_CHUNK = tl.constexpr(SpanColumn.LAST_CHUNK)
SPAN_NUM_CHUNKS = tl.constexpr(SpanColumn.NUM_CHUNKS)
SPAN_CHUNKS_BEFORE = tl.constexpr(SpanColumn.CHUNKS_BEFORE)
SPAN_PLACE = tl.constexpr(SpanColumn.PLACE)
SPAN_NUM_SPANS = tl.constexpr(SpanColumn.NUM_SPANS)
SPAN_SPANS_BEFORE = tl.constexpr(SpanColumn.SPANS_BEFORE)
SPAN_NUM_SIGNAL = tl.constexpr(SpanColumn.NUM_SIGNAL)
GROUP_COLUMNS = tl.constexpr(len(GroupColumn))
GROUP_KV_HEAD = tl.constexpr(GroupColumn.KV_HEAD)
GROUP_FIRST_HEAD = tl.constexpr(GroupColumn.FIRST_HEAD)
GROUP_LAST_HEAD = tl.constexpr(GroupColumn.LAST_HEAD)


# num_heads varies from one read layer to the next, which is no reason to compile again.
@triton.jit(do_not_specialize=["num_heads"])
def span_lse_kernel(
    q_ptr,  # [R, H, D]  fp32/bf16/fp16 queries of the signal tokens, D contiguous
    k_ptr,  # [U, K, D]  keys of the same dtype, D contiguous
    rows_ptr,  # [V]        int32 row of each key, or None: that of its number
    chunks_ptr,  # [C, 8]     int32 chunks, columns as in ChunkColumn
    groups_ptr,  # [Y, 3]     int32 KV heads, columns as in GroupColumn
    order_ptr,  # [H]        int32 heads, those of one KV head together
    lse_ptr,  # fp32 natural-log sum-exp, for each request [H, r, chunks]; -inf without keys
    scale_log2e,  # scale * log2(e), since exp2 is the fast exponential
    num_heads,
    stride_qr,  # elements from one signal token to the next, and from one head to the next
    stride_qh,
    stride_kt,
    stride_kh,
    HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """lse = log of the sum over the keys of a chunk of exp(scale * q . k), for the heads of one KV
    head: a token after a signal token does not count for it."""
    chunk_ptr = chunks_ptr + tl.program_id(0) * CHUNK_COLUMNS
    key_start, key_stop = tl.load(chunk_ptr + CHUNK_KEY_START), tl.load(chunk_ptr + CHUNK_KEY_STOP)
    first_row, num_signal = (
        tl.load(chunk_ptr + CHUNK_FIRST_ROW),
        tl.load(chunk_ptr + CHUNK_NUM_SIGNAL),
    )
    first_token = tl.load(chunk_ptr + CHUNK_FIRST_TOKEN)
    place, num_chunks = tl.load(chunk_ptr + CHUNK_PLACE), tl.load(chunk_ptr + CHUNK_NUM_CHUNKS)
    chunks_before = tl.load(chunk_ptr + CHUNK_CHUNKS_BEFORE).to(tl.int64)
    group_ptr = groups_ptr + tl.program_id(1) * GROUP_COLUMNS
    kv = tl.load(group_ptr + GROUP_KV_HEAD).to(tl.int64)
    first_head, last_head = (
        tl.load(group_ptr + GROUP_FIRST_HEAD),
        tl.load(group_ptr + GROUP_LAST_HEAD),
    )

    rows_M = tl.program_id(2) * BLOCK_M + tl.arange(0, BLOCK_M)
    dims_D = tl.arange(0, HEAD_DIM)
    num_rows = (last_head - first_head) * num_signal
    if tl.program_id(2) * BLOCK_M >= num_rows:  # another request has more signal tokens
        return
    real_M = rows_M < num_rows
    signal_M = rows_M % num_signal
    head_M = tl.load(order_ptr + first_head + rows_M // num_signal, mask=real_M, other=0)
    q_at_M = q_ptr + (first_row + signal_M).to(tl.int64) * stride_qr + head_M * stride_qh
    q_MD = tl.load(q_at_M[:, None] + dims_D[None, :], mask=real_M[:, None], other=0.0)
    token_M = first_token + signal_M
    total_M = tl.full((BLOCK_M,), 0.0, tl.float32)
    peak_M = tl.full((BLOCK_M,), -float("inf"), tl.float32)
    k_ptr += kv * stride_kh
    for first in tl.range(key_start, key_stop, BLOCK_N):
        keys_N = first + tl.arange(0, BLOCK_N)
        inside_N = keys_N < key_stop
        row_N = keys_N if rows_ptr is None else tl.load(rows_ptr + keys_N, mask=inside_N, other=0)
        k_at_ND = k_ptr + row_N.to(tl.int64)[:, None] * stride_kt + dims_D[None, :]
        k_ND = tl.load(k_at_ND, mask=inside_N[:, None], other=0.0)
        logits_MN = tl.dot(q_MD, tl.trans(k_ND), input_precision="ieee") * scale_log2e
        seen_MN = inside_N[None, :] & (keys_N[None, :] <= token_M[:, None])
        logits_MN = tl.where(seen_MN, logits_MN, -float("inf"))
        peak_before_M = peak_M
        peak_M = tl.maximum(peak_M, tl.max(logits_MN, 1))
        # A row that has seen no key yet keeps a peak of -inf; subtracting it would give nan.
        base_M = tl.where(peak_M == -float("inf"), 0.0, peak_M)
        weights_MN = tl.exp2(logits_MN - base_M[:, None])
        total_M = total_M * tl.exp2(peak_before_M - base_M) + tl.sum(weights_MN, 1)
    # The peak itself adds 1 to the sum, so below 1 nothing was seen and the peak is -inf.
    lse_M = (peak_M + tl.log2(tl.maximum(total_M, 1.0))) * LN_2
    row_M = head_M * num_signal + signal_M
    out_M = chunks_before * num_heads + row_M.to(tl.int64) * num_chunks + place
    tl.store(lse_ptr + out_M, lse_M, mask=real_M)


@triton.jit(do_not_specialize=["num_heads"])
def merge_span_lse_kernel(
    part_ptr,  # fp32 natural-log sum-exp, for each request [H, r, chunks]
    spans_ptr,  # [S, 8] int32 spans, columns as in SpanColumn
    lse_ptr,  # fp32 natural-log sum-exp, for each request [H, r, spans]; -inf without keys
    num_heads,
    BLOCK_M: tl.constexpr,
    BLOCK_B: tl.constexpr,
):
    """lse = log of the sum over the chunks of a span of exp(part)."""
    span_ptr = spans_ptr + tl.program_id(0) * SPAN_COLUMNS
    first_chunk = tl.load(span_ptr + SPAN_FIRST_CHUNK)
    last_chunk = tl.load(span_ptr + SPAN_LAST_CHUNK)
    num_chunks = tl.load(span_ptr + SPAN_NUM_CHUNKS)
    chunks_before = tl.load(span_ptr + SPAN_CHUNKS_BEFORE).to(tl.int64)
    place, num_spans = tl.load(span_ptr + SPAN_PLACE), tl.load(span_ptr + SPAN_NUM_SPANS)
    spans_before = tl.load(span_ptr + SPAN_SPANS_BEFORE).to(tl.int64)
    num_signal = tl.load(span_ptr + SPAN_NUM_SIGNAL)
    rows_M = (tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    real_M = rows_M < num_heads * num_signal
    part_ptr += chunks_before * num_heads
    total_M = tl.full((BLOCK_M,), 0.0, tl.float32)
    peak_M = tl.full((BLOCK_M,), -float("inf"), tl.float32)
    for first in range(first_chunk, last_chunk, BLOCK_B):
        chunks_B = first + tl.arange(0, BLOCK_B)
        part_at_MB = part_ptr + rows_M[:, None] * num_chunks + chunks_B[None, :]
        inside_MB = real_M[:, None] & (chunks_B < last_chunk)[None, :]
        part_MB = tl.load(part_at_MB, mask=inside_MB, other=-float("inf"))
        peak_before_M = peak_M
        peak_M = tl.maximum(peak_M, tl.max(part_MB, 1))
        base_M = tl.where(peak_M == -float("inf"), 0.0, peak_M)
        weights_MB = tl.exp(part_MB - base_M[:, None])
        total_M = total_M * tl.exp(peak_before_M - base_M) + tl.sum(weights_MB, 1)
    lse_M = peak_M + tl.log(tl.maximum(total_M, 1.0))
    out_M = spans_before * num_heads + rows_M * num_spans + place
    tl.store(lse_ptr + out_M, lse_M, mask=real_M)


def span_lse(
    q_RHD: torch.Tensor,
    k_UKD: torch.Tensor,
    kv_head_H: Sequence[int],
    plan: SpanLseTilePlan,
    scale: float,
) -> list[torch.Tensor]:
    """Take the log of the sum over a span's keys of exp(scale * q . k), for every span.

    Args:
        q_RHD: [R, H, D] queries of the signal tokens, in the plan's order, fp32, bf16 or fp16;
            D contiguous, a power of two, 16 .. 256.
        k_UKD: [U, K, D] keys of the same dtype, D contiguous.
        kv_head_H: the KV head each of the H query heads reads.
        plan: signal tokens and spans, on the same device. A token after a signal token is not seen
            by it; what a table adds behind the tokens is.
        scale: multiplies q . k, 1 / sqrt(D) as a rule.

    Returns:
        [H, r, N] fp32 for each request; -inf for a span without keys.

    Raises:
        ValueError: a shape, dtype, stride or head is not as above, or a gradient is wanted.

    Source:
        Section 3.3 of BlockRank, arXiv:2510.05396. Reads each key of a span once for all heads of
        its KV head and up to 64 rows: bound by memory bandwidth.
    """
    check_span_lse(q_RHD, k_UKD, kv_head_H, plan)
    check_kernel_inputs(q=q_RHD, k=k_UKD)
    device, num_heads, dim = q_RHD.device, q_RHD.shape[1], q_RHD.shape[2]
    config = span_lse_config(arch_of(device), dim, q_RHD.dtype)
    groups = head_groups(tuple(kv_head_H), device)
    chunk_lse = torch.empty(num_heads * plan.num_chunk_results, device=device)
    most_signal = max(layout.num_signal for layout in plan.layout)
    blocks = triton.cdiv(groups.largest * most_signal, config.block_m)
    if len(chunk_lse):
        span_lse_kernel[(len(plan.chunks_C8), len(groups.groups_Y3), blocks)](
            q_RHD, k_UKD, plan.rows_V, plan.chunks_C8, groups.groups_Y3, groups.order_H, chunk_lse,
            scale * math.log2(math.e), num_heads, *q_RHD.stride()[:2], *k_UKD.stride()[:2],
            HEAD_DIM=dim, BLOCK_M=config.block_m, BLOCK_N=config.block_n,
            num_warps=config.num_warps, num_stages=config.num_stages,
        )  # fmt: skip
    lse = chunk_lse
    if len(plan.spans_S8) and len(chunk_lse):
        lse = torch.empty(num_heads * plan.num_results, device=device)
        blocks = triton.cdiv(num_heads * most_signal, MERGE_ROWS)
        merge_span_lse_kernel[(len(plan.spans_S8), blocks)](
            chunk_lse, plan.spans_S8, lse, num_heads,
            BLOCK_M=MERGE_ROWS, BLOCK_B=MERGE_CHUNKS, num_warps=4,
        )  # fmt: skip
    return [
        lse.narrow(
            0, num_heads * each.spans_before, num_heads * each.num_signal * each.num_spans
        ).view(num_heads, each.num_signal, each.num_spans)
        for each in plan.layout
    ]
