"""Computes what stands between a decoder's matrix products, in plain torch: the oracle.

That is residual add and RMS norm, rotary embedding, SiLU, and rounding rows to float8. In the
forward pass of a 7B model these move more bytes than the products do, so each is one kernel on CUDA
(glue_triton.py), and what a product takes in float8 is rounded by the kernel that makes it: once,
however many products take it.

Axes: T = tokens, C = channels, J = channels of the MLP, h = heads, D = head_dim.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn.functional import silu

FP8 = torch.float8_e4m3fn
LARGEST_FP8 = torch.finfo(FP8).max
TINY = 1e-12  # a row of zeros has no scale of its own


class RoundedRows(NamedTuple):
    """Holds rows in float8 e4m3: values times their row's scale are nearest to what was rounded."""

    values_TC: torch.Tensor  # float8
    scale_T1: torch.Tensor  # fp32


class HeadNorm(NamedTuple):
    """Describes the RMS norm of single heads before they are rotated, as Qwen3 has it.

    Attributes:
        weights_2D: [2, D], of the queries, then of the keys.
        num_queries: heads below this one are queries, the others keys.
        eps: is added to the mean of squares.
    """

    weights_2D: torch.Tensor
    num_queries: int
    eps: float


Activations = torch.Tensor | RoundedRows


@dataclass(frozen=True, slots=True)
class Glue:
    """Holds one implementation of the operations between matrix products.

    Attributes:
        add_rms_norm: (hidden_TC, delta_TC or None, weight_C, eps, to_fp8) -> [T, C].
        rotate: (heads_ThD, cos_TD, sin_TD, norm or None), in place.
        silu_mul: (gate_up_TJ, to_fp8) -> [T, J / 2].
    """

    add_rms_norm: Callable[
        [torch.Tensor, torch.Tensor | None, torch.Tensor, float, bool], Activations
    ]
    rotate: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, HeadNorm | None], None]
    silu_mul: Callable[[torch.Tensor, bool], Activations]


def add_rms_norm(
    hidden_TC: torch.Tensor,
    delta_TC: torch.Tensor | None,
    weight_C: torch.Tensor,
    eps: float,
    to_fp8: bool,
) -> Activations:
    """Add what a block computed to the residual stream, in place, and normalise the sum.

    Args:
        hidden_TC: the residual stream, contiguous.
        delta_TC: is added to it, contiguous, in the same dtype; None adds nothing.
        weight_C: scales the channels.
        eps: is added to the mean of squares.
        to_fp8: asks for the result in float8.

    Returns:
        [T, C] in the dtype of hidden_TC, or rounded from there.
    """
    if delta_TC is not None:
        hidden_TC += delta_TC
    wide_TC = hidden_TC.float()
    wide_TC = wide_TC * torch.rsqrt(wide_TC.square().mean(-1, keepdim=True) + eps)
    normed_TC = wide_TC.to(hidden_TC.dtype) * weight_C
    return round_rows(normed_TC) if to_fp8 else normed_TC


def rotate(
    heads_ThD: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor, norm: HeadNorm | None
) -> None:
    """Turn heads by the rotary embedding of their tokens, in place; in fp32, rounded once.

    Args:
        heads_ThD: may be a part of a larger tensor; heads lie D apart, their dimensions 1.
        cos_TD: of every token; the second half of D repeats the first.
        sin_TD: likewise.
        norm: is applied before.
    """
    wide_ThD = heads_ThD.float()
    if norm is not None:
        wide_ThD = wide_ThD * torch.rsqrt(wide_ThD.square().mean(-1, keepdim=True) + norm.eps)
        is_key_h = torch.arange(heads_ThD.shape[1], device=heads_ThD.device) >= norm.num_queries
        wide_ThD = wide_ThD.to(heads_ThD.dtype).float() * norm.weights_2D.float()[is_key_h.long()]
        wide_ThD = wide_ThD.to(heads_ThD.dtype).float()
    half = heads_ThD.shape[-1] // 2
    cos_T1d, sin_T1d = (x.float()[:, None, :half] for x in (cos_TD, sin_TD))
    first, second = wide_ThD.chunk(2, -1)
    turned = torch.addcmul(first * cos_T1d, second, sin_T1d, value=-1)
    heads_ThD[..., half:] = torch.addcmul(second * cos_T1d, first, sin_T1d)
    heads_ThD[..., :half] = turned  # last: in fp32 first and second are a part of heads_ThD


def silu_mul(gate_up_TJ: torch.Tensor, to_fp8: bool) -> Activations:
    """Compute silu(gate) * up of [T, J], its first half gate; in fp32, rounded once to its dtype.

    Args:
        gate_up_TJ: contiguous.
        to_fp8: asks for the result in float8.
    """
    gate, up = gate_up_TJ.float().chunk(2, -1)
    product = (silu(gate) * up).to(gate_up_TJ.dtype)
    return round_rows(product) if to_fp8 else product


def round_rows(x_TC: torch.Tensor) -> RoundedRows:
    """Round to float8, so that each row's largest becomes float8's largest."""
    wide_TC = x_TC.float()
    largest_T1 = wide_TC.abs().amax(-1, keepdim=True).clamp(min=TINY)
    values_TC = (wide_TC * (LARGEST_FP8 / largest_T1)).to(FP8)
    return RoundedRows(values_TC, largest_T1 / LARGEST_FP8)


TORCH_GLUE = Glue(add_rms_norm, rotate, silu_mul)
"""Runs on every device."""
