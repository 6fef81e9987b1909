"""Computes what stands between a decoder's matrix products, in Triton: the CUDA path, forward only.

Each is bound by memory, so each reads its inputs once and writes its result once: a row stands
whole in the registers of one program.

Axes: T = tokens, C = channels, J = channels of the MLP, h = heads, D = head_dim, N = places of a
block, of which the first are a row's channels.
"""
# Triton reads a kernel's parameters by name; annotations other than constexpr would mislead it.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False
# A kernel takes pointers, strides and sizes one by one.
# ruff: noqa: PLR0913, PLR0917

import torch
import triton
import triton.language as tl

from blockrank_server.kernels import glue
from blockrank_server.kernels.glue import FP8, Activations, HeadNorm, RoundedRows
from blockrank_server.kernels.launch_config import arch_of, row_config

ROTARY_HEADS, ROTARY_WARPS = 8, 2

# A kernel reads no global but a constexpr.
LARGEST_FP8 = tl.constexpr(glue.LARGEST_FP8)
TINY = tl.constexpr(glue.TINY)


@triton.jit
def store_row(row_N, out_ptr, scale_ptr, row, n_N, mask_N, SIZE: tl.constexpr, FP8: tl.constexpr):
    """Write one row, rounded to the dtype of the result; in float8 by the row's largest."""
    if FP8:
        largest = tl.maximum(tl.max(tl.abs(row_N), 0), TINY)
        tl.store(scale_ptr + row, largest / LARGEST_FP8)
        row_N = row_N * (LARGEST_FP8 / largest)
    tl.store(out_ptr + row * SIZE + n_N, row_N.to(out_ptr.dtype.element_ty), mask=mask_N)


@triton.jit
def add_rms_norm_kernel(
    hidden_ptr,  # [T, C] fp32/bf16/fp16 residual stream, changed where ADD
    delta_ptr,  # [T, C] in the same dtype, read where ADD
    weight_ptr,  # [C]
    out_ptr,  # [T, C] in the same dtype, or float8
    scale_ptr,  # [T]    fp32, written where FP8
    eps,
    SIZE: tl.constexpr,  # C
    BLOCK: tl.constexpr,  # a power of two, C or more
    ADD: tl.constexpr,
    FP8: tl.constexpr,
):
    """hidden += delta; out = hidden / sqrt(mean(hidden**2) + eps) * weight: one token."""
    row = tl.program_id(0).to(tl.int64)
    n_N = tl.arange(0, BLOCK)
    mask_N = n_N < SIZE
    at_N = row * SIZE + n_N
    hidden_N = tl.load(hidden_ptr + at_N, mask=mask_N, other=0.0)
    dtype = hidden_N.dtype
    if ADD:
        delta_N = tl.load(delta_ptr + at_N, mask=mask_N, other=0.0)
        hidden_N = (hidden_N.to(tl.float32) + delta_N.to(tl.float32)).to(dtype)
        tl.store(hidden_ptr + at_N, hidden_N, mask=mask_N)
    wide_N = hidden_N.to(tl.float32)
    wide_N = wide_N * tl.rsqrt(tl.sum(wide_N * wide_N, 0) / SIZE + eps)
    weight_N = tl.load(weight_ptr + n_N, mask=mask_N, other=0.0)
    normed_N = (wide_N.to(dtype).to(tl.float32) * weight_N.to(tl.float32)).to(dtype)
    store_row(normed_N.to(tl.float32), out_ptr, scale_ptr, row, n_N, mask_N, SIZE, FP8)


@triton.jit
def silu_mul_kernel(
    gate_up_ptr,  # [T, 2 * SIZE] fp32/bf16/fp16, gate first
    out_ptr,  # [T, SIZE]     in the same dtype, or float8
    scale_ptr,  # [T]           fp32, written where FP8
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,  # a power of two, SIZE or more
    FP8: tl.constexpr,
):
    """out = silu(gate) * up: one token."""
    row = tl.program_id(0).to(tl.int64)
    n_N = tl.arange(0, BLOCK)
    mask_N = n_N < SIZE
    at_N = row * (2 * SIZE) + n_N
    gate_N = tl.load(gate_up_ptr + at_N, mask=mask_N, other=0.0)
    up_N = tl.load(gate_up_ptr + at_N + SIZE, mask=mask_N, other=0.0)
    wide_N = gate_N.to(tl.float32)
    product_N = (wide_N / (1 + tl.exp(-wide_N)) * up_N.to(tl.float32)).to(gate_N.dtype)
    store_row(product_N.to(tl.float32), out_ptr, scale_ptr, row, n_N, mask_N, SIZE, FP8)


@triton.jit
def rotate_kernel(
    heads_ptr,  # [T, h, D] fp32/bf16/fp16, changed; heads D apart
    cos_ptr,  # [T, D]    of which the first half is read
    sin_ptr,  # [T, D]    likewise
    weights_ptr,  # [2, D]    of the norm of queries and keys, read where NORM
    eps,
    stride_t,  # elements from one token to the next
    HEADS: tl.constexpr,  # h
    QUERIES: tl.constexpr,  # of them, for the norm
    HEAD_DIM: tl.constexpr,
    BLOCK_H: tl.constexpr,
    NORM: tl.constexpr,
):
    """Each pair (first, second) of a head's halves becomes (first c - second s, second c + first
    s): one token, a few heads."""
    HALF: tl.constexpr = HEAD_DIM // 2
    token = tl.program_id(0).to(tl.int64)
    head_h = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    dims_D = tl.arange(0, HALF)
    real_h = (head_h < HEADS)[:, None]
    at_hD = heads_ptr + token * stride_t + head_h[:, None] * HEAD_DIM + dims_D[None, :]
    first_hD = tl.load(at_hD, mask=real_h, other=0.0)
    second_hD = tl.load(at_hD + HALF, mask=real_h, other=0.0)
    dtype = first_hD.dtype
    first_hD, second_hD = first_hD.to(tl.float32), second_hD.to(tl.float32)
    if NORM:
        squares_h = tl.sum(first_hD * first_hD + second_hD * second_hD, 1)
        shrink_h = tl.rsqrt(squares_h / HEAD_DIM + eps)[:, None]
        first_hD = (first_hD * shrink_h).to(dtype).to(tl.float32)
        second_hD = (second_hD * shrink_h).to(dtype).to(tl.float32)
        is_key_h = tl.where(head_h < QUERIES, 0, 1)
        weight_at_hD = weights_ptr + is_key_h[:, None] * HEAD_DIM + dims_D[None, :]
        weight_hD = tl.load(weight_at_hD).to(tl.float32)
        first_hD = (first_hD * weight_hD).to(dtype).to(tl.float32)
        weight_hD = tl.load(weight_at_hD + HALF).to(tl.float32)
        second_hD = (second_hD * weight_hD).to(dtype).to(tl.float32)
    cos_D = tl.load(cos_ptr + token * HEAD_DIM + dims_D).to(tl.float32)[None, :]
    sin_D = tl.load(sin_ptr + token * HEAD_DIM + dims_D).to(tl.float32)[None, :]
    tl.store(at_hD, (first_hD * cos_D - second_hD * sin_D).to(dtype), mask=real_h)
    tl.store(at_hD + HALF, (second_hD * cos_D + first_hD * sin_D).to(dtype), mask=real_h)


def add_rms_norm(
    hidden_TC: torch.Tensor,
    delta_TC: torch.Tensor | None,
    weight_C: torch.Tensor,
    eps: float,
    to_fp8: bool,
) -> Activations:
    """Do as glue.add_rms_norm does, in one launch."""
    _check_rows(hidden=hidden_TC, delta=hidden_TC if delta_TC is None else delta_TC)
    num_tokens, size = hidden_TC.shape
    config = row_config(size)
    out_TC, scale_T1 = rows_like(hidden_TC, size, to_fp8=to_fp8)
    add_rms_norm_kernel[(num_tokens,)](
        hidden_TC, hidden_TC if delta_TC is None else delta_TC, weight_C, out_TC, scale_T1, eps,
        SIZE=size, BLOCK=config.block, ADD=delta_TC is not None, FP8=to_fp8,
        num_warps=config.num_warps,
    )  # fmt: skip
    return finished(out_TC, scale_T1, to_fp8=to_fp8)


def rotate(
    heads_ThD: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor, norm: HeadNorm | None
) -> None:
    """Do as glue.rotate does, in one launch.

    Raises:
        ValueError: head_dim is no power of two, or heads do not lie next to each other.
    """
    num_tokens, num_heads, dim = heads_ThD.shape
    if dim & (dim - 1) or heads_ThD.stride()[1:] != (dim, 1):
        raise ValueError(
            f"heads must be [T, heads, a power of two], the last two axes contiguous, "
            f"got {list(heads_ThD.shape)} with strides {heads_ThD.stride()}"
        )
    rotate_kernel[(num_tokens, triton.cdiv(num_heads, ROTARY_HEADS))](
        heads_ThD, cos_TD.contiguous(), sin_TD.contiguous(),
        cos_TD if norm is None else norm.weights_2D, 0.0 if norm is None else norm.eps,
        heads_ThD.stride(0), HEADS=num_heads, QUERIES=0 if norm is None else norm.num_queries,
        HEAD_DIM=dim, BLOCK_H=ROTARY_HEADS, NORM=norm is not None, num_warps=ROTARY_WARPS,
    )  # fmt: skip


def silu_mul(gate_up_TJ: torch.Tensor, to_fp8: bool) -> Activations:
    """Do as glue.silu_mul does, in one launch."""
    _check_rows(gate_up=gate_up_TJ)
    size = gate_up_TJ.shape[1] // 2
    config = row_config(size)
    out_TC, scale_T1 = rows_like(gate_up_TJ, size, to_fp8=to_fp8)
    silu_mul_kernel[(len(gate_up_TJ),)](
        gate_up_TJ, out_TC, scale_T1,
        SIZE=size, BLOCK=config.block, FP8=to_fp8, num_warps=config.num_warps,
    )  # fmt: skip
    return finished(out_TC, scale_T1, to_fp8=to_fp8)


def _check_rows(**tensors: torch.Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.ndim != 2 or not tensor.is_contiguous():
            raise ValueError(
                f"{name} must be contiguous rows, got {list(tensor.shape)} "
                f"with strides {tensor.stride()}"
            )


def rows_like(like: torch.Tensor, size: int, *, to_fp8: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Make the memory of a result and, in float8, of its scales."""
    dtype = like.dtype
    if to_fp8:
        # The interpreter rounds to float8 wrongly, without a word; there torch rounds afterwards.
        dtype = torch.float32 if arch_of(like.device) == "interpreter" else FP8
    out_TC = torch.empty((len(like), size), dtype=dtype, device=like.device)
    if not to_fp8:
        return out_TC, out_TC  # no kernel writes it
    return out_TC, torch.empty((len(like), 1), dtype=torch.float32, device=like.device)


def finished(out_TC: torch.Tensor, scale_T1: torch.Tensor, *, to_fp8: bool) -> Activations:
    """Give the result of a kernel that was launched on the memory of rows_like."""
    return RoundedRows(out_TC.to(FP8), scale_T1) if to_fp8 else out_TC


TRITON_GLUE = glue.Glue(add_rms_norm, rotate, silu_mul)
"""Runs on CUDA, and on the CPU in Triton's interpreter."""
