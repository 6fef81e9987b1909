"""Measures how strongly a few query tokens attend to each span of keys, in plain torch.

Axes: R = signal tokens of the batch, r = of one request, T = packed tokens, H = heads read,
h = those of one KV head, K = key/value heads, D = head_dim, N = spans of one request, M = keys of
all its spans, U = rows of k: T, or what a table says of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.segments import Span


@dataclass(frozen=True, slots=True)
class SpanRead:
    """Names what is read of a request: the span of its signal tokens, and the spans they weigh."""

    signal: Span
    spans: tuple[Span, ...]


class SpanLsePlanLike(Protocol):
    """Says what every backend's plan of the span log-sum-exp offers.

    Attributes:
        signal_R: [R] int64, the signal tokens of all requests on the packed axis.
        min_rows: the least U that holds every signal token and span.
    """

    signal_R: torch.Tensor
    min_rows: int


class SpanLsePlan:
    """Readings as gather indices, prepared once for all read layers of a forward pass.

    Args:
        reads: one for each request, at least one.
        key_rows: says in which row of k each key stands; None: in that of its number.

    Attributes:
        signal_R: [R] int64, the signal tokens of all requests on the packed axis.
        min_rows: the least U that holds every signal token and span.

    Raises:
        ValueError: no readings, a span that ends before it starts, or one that is not in the table.
    """

    def __init__(
        self, reads: Sequence[SpanRead], device: torch.device, key_rows: KeyRows | None = None
    ) -> None:
        self.min_rows = check_reads(reads, key_rows)
        signal_R = np.concatenate([np.arange(*read.signal) for read in reads])
        self.signal_R = torch.from_numpy(signal_R).to(device)
        self._requests = [_Request(read, key_rows, device) for read in reads]

    def requests(self) -> Sequence["_Request"]:
        """Return one prepared reading for each request."""
        return self._requests


class _Request:
    def __init__(self, read: SpanRead, key_rows: KeyRows | None, device: torch.device) -> None:
        # Built with numpy: torch would wake its threads for each of these small arrays.
        signal_r = np.arange(*read.signal)
        keys = [np.arange(*span) for span in read.spans]
        keys_M = np.concatenate([signal_r[:0], *keys])
        owner_M = np.arange(len(keys)).repeat([len(key) for key in keys])
        hidden_rM = keys_M > signal_r[:, None]
        if key_rows is not None:
            hidden_rM &= keys_M < key_rows.num_tokens
            keys_M = key_rows.rows_S[keys_M].astype(np.int64)
        self.num_signal = len(signal_r)
        self.num_spans = len(keys)
        self.keys_M = torch.from_numpy(keys_M).to(device)
        self.owner_M = torch.from_numpy(owner_M).to(device)
        self.hidden_rM = torch.from_numpy(hidden_rM).to(device)


def span_lse(
    q_RHD: torch.Tensor,
    k_UKD: torch.Tensor,
    kv_head_H: Sequence[int],
    plan: SpanLsePlan,
    scale: float,
) -> list[torch.Tensor]:
    """Take the log of the sum over a span's keys of exp(scale * q . k), for every span.

    Args:
        q_RHD: [R, H, D] queries of the signal tokens, in the plan's order.
        k_UKD: [U, K, D] keys of the same dtype.
        kv_head_H: the KV head each of the H query heads reads.
        plan: signal tokens and spans. A token after a signal token is not seen by it; what a table
            adds behind the tokens is.
        scale: multiplies q . k, 1 / sqrt(D) as a rule.

    Returns:
        [H, r, N] fp32 (fp64 for fp64 inputs) for each request; -inf for a span without keys.
        Differentiable.

    Raises:
        ValueError: a shape, dtype or head is not as above; before any work.

    Source:
        Section 3.3 of BlockRank, arXiv:2510.05396.
    """
    check_span_lse(q_RHD, k_UKD, kv_head_H, plan)
    wide = torch.promote_types(q_RHD.dtype, torch.float32)
    # Heads that share a KV head are rows of one product, so its keys are gathered once.
    order = sorted(range(len(kv_head_H)), key=lambda head: kv_head_H[head])
    unsort = torch.tensor(order, device=k_UKD.device).argsort()
    results, done = [], 0
    for request in plan.requests():
        q_rHD = q_RHD[done : done + request.num_signal].to(wide)
        logits = []
        for kv in sorted(set(kv_head_H)):
            q_hrD = q_rHD[:, [head for head in order if kv_head_H[head] == kv]].transpose(0, 1)
            k_MD = k_UKD[request.keys_M, kv].to(wide)
            logits.append(torch.matmul(q_hrD * scale, k_MD.T))
        logits_HrM = torch.cat(logits)[unsort].masked_fill(request.hidden_rM, -torch.inf)
        results.append(segment_lse(logits_HrM, request.owner_M, request.num_spans))
        done += request.num_signal
    return results


def check_reads(reads: Sequence[SpanRead], key_rows: KeyRows | None = None) -> int:
    """Refuse readings that no plan takes; return the least U that holds the others.

    Raises:
        ValueError: no readings; a span that ends before it starts or starts below 0; with a table,
            one that ends behind it, or lies on both sides of the last token.
    """
    if not reads:
        raise ValueError("a plan needs at least one reading, got none")
    for i, read in enumerate(reads):
        for start, stop in (read.signal, *read.spans):
            if not 0 <= start <= stop:
                raise ValueError(f"reading {i} has the span {start}..{stop}")
        if key_rows is not None:
            _check_in_table(i, read, key_rows)
    if key_rows is not None:
        return key_rows.num_rows
    return max(stop for read in reads for _, stop in (read.signal, *read.spans))


def _check_in_table(i: int, read: SpanRead, key_rows: KeyRows) -> None:
    num_tokens, num_keys = key_rows.num_tokens, key_rows.num_keys
    limits = [
        num_tokens,
        *(num_tokens if span[0] < num_tokens else num_keys for span in read.spans),
    ]
    for (start, stop), limit in zip((read.signal, *read.spans), limits, strict=True):
        if stop > limit:
            raise ValueError(
                f"reading {i} has the span {start}..{stop}, the table has {num_tokens} tokens and "
                f"{num_keys} keys"
            )


def check_span_lse(
    q: torch.Tensor, k: torch.Tensor, kv_head_H: Sequence[int], plan: SpanLsePlanLike
) -> None:
    """Refuse shapes, dtypes and heads that no reading of this plan takes.

    Raises:
        ValueError: what was expected and what was given.
    """
    num_signal = len(plan.signal_R)
    if q.ndim != 3 or q.shape[:2] != (num_signal, len(kv_head_H)) or not kv_head_H:
        raise ValueError(
            f"q must be [{num_signal}, {len(kv_head_H)} heads, head_dim], got {list(q.shape)}"
        )
    if k.ndim != 3 or k.shape[2] != q.shape[2] or k.shape[0] < plan.min_rows:
        raise ValueError(
            f"k must be [{plan.min_rows} or more, kv_heads, {q.shape[2]}], got {list(k.shape)}"
        )
    if not 0 <= min(kv_head_H) <= max(kv_head_H) < k.shape[1]:
        raise ValueError(f"kv_head_H must be in 0 .. {k.shape[1] - 1}, got {list(kv_head_H)}")
    if q.dtype != k.dtype:
        raise ValueError(f"dtypes differ: q {q.dtype}, k {k.dtype}")


def segment_lse(logits_HrM: torch.Tensor, owner_M: torch.Tensor, num_spans: int) -> torch.Tensor:
    """Take the log of the sum of exp over what each owner in 0 .. num_spans - 1 has of M.

    Returns:
        [H, r, num_spans]; -inf for an owner that has nothing, or nothing above -inf.
    """
    shape = (*logits_HrM.shape[:2], num_spans)
    owner_HrM = owner_M.expand_as(logits_HrM)
    peak_HrN = logits_HrM.new_full(shape, -torch.inf).scatter_reduce(
        2, owner_HrM, logits_HrM.detach(), "amax"
    )
    # An empty span keeps a peak of -inf; subtracting it would give nan.
    finite_HrN = peak_HrN.masked_fill(peak_HrN.isinf(), 0.0)
    weight_HrM = (logits_HrM - finite_HrN.gather(2, owner_HrM)).exp()
    total_HrN = logits_HrM.new_zeros(shape).scatter_add(2, owner_HrM, weight_HrM)
    return total_HrN.log() + finite_HrN
