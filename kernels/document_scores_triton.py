"""Turns attention into scores, in Triton: the CUDA path, one launch for a whole batch.

Axes: H = heads read in a layer, r = signal tokens of a request, N = places of a step along its
documents, R = rows of a step, L = read layers, Q = requests.
"""
# Triton reads a kernel's parameters by name; annotations other than constexpr would mislead it.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# mypy: disallow-untyped-decorators=False

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
import triton
import triton.language as tl

from blockrank_server.kernels.document_scores import ScoreRule
from blockrank_server.kernels.upload import upload

BLOCK_R, BLOCK_N, NUM_WARPS = 8, 128, 4


class ReadColumn(IntEnum):
    """Names the columns of the table of readings, one for each request and layer."""

    ADDRESS = 0  # of [H, r, N + C] fp32 log-sum-exps
    NUM_HEADS = 1
    NUM_SIGNAL = 2
    NUM_SPANS = 3  # N + C
    NUM_DOCUMENTS = 4
    FIRST_SCORE = 5  # where the request's scores go
    LEVEL = 6  # where the level of its list goes


# A kernel reads no global but a constexpr.
READ_COLUMNS = tl.constexpr(len(ReadColumn))
READ_ADDRESS = tl.constexpr(ReadColumn.ADDRESS)
READ_NUM_HEADS = tl.constexpr(ReadColumn.NUM_HEADS)
READ_NUM_SIGNAL = tl.constexpr(ReadColumn.NUM_SIGNAL)
READ_NUM_SPANS = tl.constexpr(ReadColumn.NUM_SPANS)
READ_NUM_DOCUMENTS = tl.constexpr(ReadColumn.NUM_DOCUMENTS)
READ_FIRST_SCORE = tl.constexpr(ReadColumn.FIRST_SCORE)
READ_LEVEL = tl.constexpr(ReadColumn.LEVEL)


@triton.jit
def _load_rows(lse_ptr, rows_R, num_rows, spans_N, stop, num_spans, num_averaged):
    """Load rows of log-sum-exps at some spans, each the mean of num_averaged rows; -inf outside."""
    inside_RN = (rows_R < num_rows)[:, None] & (spans_N < stop)[None, :]
    sum_RN = tl.full((rows_R.shape[0], spans_N.shape[0]), 0.0, tl.float32)
    for i in range(num_averaged):
        at_RN = (rows_R * num_averaged + i)[:, None] * num_spans + spans_N[None, :]
        sum_RN += tl.load(lse_ptr + at_RN, mask=inside_RN, other=-float("inf"))
    return sum_RN / num_averaged


@triton.jit
def _base(peak_R):
    """Return what is subtracted before exp: nothing where no key was seen, for -inf gives nan."""
    return tl.where(peak_R == -float("inf"), 0.0, peak_R)


@triton.jit
def _normaliser(
    lse_ptr, rows_R, num_rows, first_span, last_span, num_spans, num_averaged, BLOCK_N: tl.constexpr
):
    """Return (peak, total) of rows: the sum of exp(lse) over some spans is exp(peak) * total, or 0
    where the peak is -inf and total 1, since no span has a key."""
    steps_N = tl.arange(0, BLOCK_N)
    total_R = tl.full((rows_R.shape[0],), 0.0, tl.float32)
    peak_R = tl.full((rows_R.shape[0],), -float("inf"), tl.float32)
    for span in range(first_span, last_span, BLOCK_N):
        lse_RN = _load_rows(
            lse_ptr, rows_R, num_rows, span + steps_N, last_span, num_spans, num_averaged
        )
        before_R = peak_R
        peak_R = tl.maximum(peak_R, tl.max(lse_RN, 1))
        base_R = _base(peak_R)
        total_R = total_R * tl.exp(before_R - base_R)
        total_R += tl.sum(tl.exp(lse_RN - base_R[:, None]), 1)
    # The peak itself adds 1 to the sum, so below 1 nothing was seen and no mass is left.
    return peak_R, tl.maximum(total_R, 1.0)


@triton.jit
def _reading(layer_ptr, GEOMETRIC: tl.constexpr):
    """Load what a layer was read for: (lse_ptr, heads, spans, rows, readings a row is of)."""
    lse_ptr = tl.load(layer_ptr + READ_ADDRESS).to(tl.pointer_type(tl.float32))
    num_heads = tl.load(layer_ptr + READ_NUM_HEADS)
    num_signal = tl.load(layer_ptr + READ_NUM_SIGNAL)
    num_spans = tl.load(layer_ptr + READ_NUM_SPANS)
    if GEOMETRIC:
        num_rows, num_averaged = num_heads, num_signal
    else:
        num_rows, num_averaged = num_heads * num_signal, 1
    return lse_ptr, num_heads, num_spans, num_rows, num_averaged


@triton.jit
def _level(
    read_ptr,
    num_layers,
    num_documents,
    GEOMETRIC: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Return the mean, over heads and signal tokens, of the log-mean-exp over documents, 0 for a
    row that sees no key of any. In a pass of its own: beside scores it would spill registers."""
    level, num_masses = 0.0, 0.0
    for layer in range(num_layers):
        layer_ptr = read_ptr + layer * READ_COLUMNS
        lse_ptr, _, num_spans, num_rows, num_averaged = _reading(layer_ptr, GEOMETRIC)
        for first in range(0, num_rows, BLOCK_R):
            rows_R = first + tl.arange(0, BLOCK_R)
            peak_R, total_R = _normaliser(
                lse_ptr, rows_R, num_rows, 0, num_documents, num_spans, num_averaged, BLOCK_N
            )
            level_R = peak_R + tl.log(total_R) - tl.log(num_documents.to(tl.float32))
            level += tl.sum(tl.where(peak_R == -float("inf"), 0.0, level_R), 0)
        num_masses += num_rows.to(tl.float32)
    return level / num_masses


@triton.jit(do_not_specialize=["num_layers"])
def document_scores_kernel(
    reads_ptr,  # [Q, L, 7] int64 readings, columns as in ReadColumn
    scores_ptr,  # fp32, request after request, then their levels
    num_layers,
    OVER_ALL: tl.constexpr,  # normalise over the spans after the documents'
    GEOMETRIC: tl.constexpr,  # rows are heads, with the mean over their signal tokens
    SUM_HEADS: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """score = mean over signal tokens, mean or sum over heads, of exp(lse - normaliser): one
    request, a few of its documents; and, by the first program of a request, its level."""
    read_ptr = reads_ptr + tl.program_id(0) * num_layers * READ_COLUMNS
    num_documents = tl.load(read_ptr + READ_NUM_DOCUMENTS)
    own_N = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    if tl.program_id(1) * BLOCK_N >= num_documents:  # another request has more documents
        return
    score_N = tl.full((BLOCK_N,), 0.0, tl.float32)
    num_masses = 0.0
    for layer in range(num_layers):
        layer_ptr = read_ptr + layer * READ_COLUMNS
        lse_ptr, num_heads, num_spans, num_rows, num_averaged = _reading(layer_ptr, GEOMETRIC)
        if OVER_ALL:
            first_span, last_span = num_documents, num_spans
        else:
            first_span, last_span = 0, num_documents
        for first in range(0, num_rows, BLOCK_R):
            rows_R = first + tl.arange(0, BLOCK_R)
            peak_R, total_R = _normaliser(
                lse_ptr, rows_R, num_rows, first_span, last_span, num_spans, num_averaged, BLOCK_N
            )
            base_R = _base(peak_R)
            lse_RN = _load_rows(
                lse_ptr, rows_R, num_rows, own_N, num_documents, num_spans, num_averaged
            )
            score_N += tl.sum(tl.exp(lse_RN - base_R[:, None]) / total_R[:, None], 0)
        num_masses += num_heads.to(tl.float32)
    if not GEOMETRIC:
        score_N = score_N / tl.load(read_ptr + READ_NUM_SIGNAL).to(tl.float32)
    if not SUM_HEADS:
        score_N = score_N / num_masses
    own_ptr = scores_ptr + tl.load(read_ptr + READ_FIRST_SCORE)
    tl.store(own_ptr + own_N, score_N, mask=own_N < num_documents)
    if tl.program_id(1) == 0:
        level = _level(read_ptr, num_layers, num_documents, GEOMETRIC, BLOCK_R, BLOCK_N)
        tl.store(scores_ptr + tl.load(read_ptr + READ_LEVEL), level)


def document_scores(
    lse: Sequence[Sequence[torch.Tensor]], num_documents: Sequence[int], rule: ScoreRule
) -> torch.Tensor:
    """Do as document_scores.document_scores does, in one launch.

    Raises:
        ValueError: a reading is not contiguous fp32.
    """
    device, rows = lse[0][0].device, []
    first_score, num_scores = 0, sum(num_documents)
    for i, (layers, num) in enumerate(zip(zip(*lse, strict=True), num_documents, strict=True)):
        for each in layers:
            if each.dtype != torch.float32 or not each.is_contiguous():
                raise ValueError(f"readings must be contiguous float32, got {each.dtype}")
            rows.append((each.data_ptr(), *each.shape, num, first_score, num_scores + i))
        first_score += num
    scores = torch.empty(num_scores + len(num_documents), device=device)
    document_scores_kernel[(len(num_documents), triton.cdiv(max(num_documents), BLOCK_N))](
        upload(np.array(rows, np.int64), device), scores, len(lse),
        OVER_ALL=rule.normalise_over == "all", GEOMETRIC=rule.reduce_tokens == "geometric_mean",
        SUM_HEADS=rule.reduce_heads == "sum", BLOCK_R=BLOCK_R, BLOCK_N=BLOCK_N, num_warps=NUM_WARPS,
    )  # fmt: skip
    return scores
