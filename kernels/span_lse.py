"""How strongly a few query tokens attend to each span of keys, in plain torch.

Axes: R = signal tokens of the batch, r = of one request, T = packed tokens, H = heads read,
K = key/value heads, D = head_dim, N = spans of one request, M = keys of all its spans.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from blockrank_server.kernels.segments import Span


@dataclass(frozen=True, slots=True)
class SpanRead:
    """One request's reading: token indices of its signal tokens, and the key spans they weigh."""

    signal: Span
    spans: tuple[Span, ...]


class LsePlan:
    """Readings prepared once for all read layers of a forward pass."""

    def __init__(self, reads: Sequence[SpanRead], device: torch.device) -> None:
        self.signal_R = torch.cat([torch.arange(*read.signal) for read in reads]).to(device)
        self._requests = [_Request(read, device) for read in reads]

    def requests(self) -> Sequence["_Request"]:
        """One prepared reading a request."""
        return self._requests


class _Request:
    def __init__(self, read: SpanRead, device: torch.device) -> None:
        keys = [torch.arange(*span) for span in read.spans]
        sizes_N = torch.tensor([len(key) for key in keys])
        self.num_signal = read.signal[1] - read.signal[0]
        self.num_spans = len(keys)
        self.keys_M = torch.cat(keys).to(device)
        self.owner_M = torch.arange(len(keys)).repeat_interleave(sizes_N).to(device)
        signal_r = torch.arange(*read.signal).to(device)
        self.hidden_rM = self.keys_M > signal_r[:, None]


def span_lse(
    q_RHD: torch.Tensor,
    k_TKD: torch.Tensor,
    kv_head_H: Sequence[int],
    plan: LsePlan,
    scale: float,
) -> list[torch.Tensor]:
    """log of the sum over a span's keys of exp(scale * q . k), for every span.

    Args:
        q_RHD: [R, H, D] queries of the signal tokens, in the plan's order.
        k_TKD: [T, K, D] keys.
        kv_head_H: the KV head each of the H query heads reads.
        plan: signal tokens and spans. A key after a signal token is not seen by it.
        scale: multiplies q . k, 1 / sqrt(D) as a rule.

    Returns:
        [H, r, N] fp32 (fp64 for fp64 inputs) for each request; -inf for a span without keys.
        Differentiable.

    Raises:
        ValueError: a shape is not as above.

    Source:
        Section 3.3 of BlockRank, arXiv:2510.05396.
    """
    if q_RHD.shape[0] != len(plan.signal_R) or q_RHD.shape[1] != len(kv_head_H):
        raise ValueError(
            f"q must be [{len(plan.signal_R)}, {len(kv_head_H)}, D], got {list(q_RHD.shape)}"
        )
    wide = torch.promote_types(q_RHD.dtype, torch.float32)
    kv_head = torch.tensor(kv_head_H, device=k_TKD.device)
    results, done = [], 0
    for request in plan.requests():
        q_HrD = q_RHD[done : done + request.num_signal].to(wide).transpose(0, 1)
        k_HMD = k_TKD[request.keys_M][:, kv_head].to(wide).transpose(0, 1)
        logits_HrM = torch.matmul(q_HrD, k_HMD.transpose(1, 2)) * scale
        logits_HrM = logits_HrM.masked_fill(request.hidden_rM, -torch.inf)
        results.append(_segment_lse(logits_HrM, request.owner_M, request.num_spans))
        done += request.num_signal
    return results


def _segment_lse(logits_HrM: torch.Tensor, owner_M: torch.Tensor, num_spans: int) -> torch.Tensor:
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
