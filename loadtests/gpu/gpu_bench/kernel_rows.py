"""Measures the kernel table's rows: block attention and span log-sum-exp against torch."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from blockrank_server.kernels.backend import TORCH_BACKEND, Backend
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.engine.packing import pack
from gpu_bench import baselines
from gpu_bench.clock import Clock
from gpu_bench.work import Ceilings, attention_work, read_work
from gpu_bench.workload import Heads, request

Row = dict[str, Any]
Attention = Callable[[], torch.Tensor]
DTYPE = torch.bfloat16
_VOCAB = 97


@dataclass(frozen=True, slots=True)
class KernelBench:
    """Times kernels over single requests on one device.

    Attributes:
        card: says which masks and spans there are.
    """

    clock: Clock
    backend: Backend
    ceilings: Ceilings
    card: Card

    def attention(self, heads: Heads, num_documents: int) -> Row:
        """Time block attention of one layer, and its baselines."""
        clock, device = self.clock, self.clock.device
        encoded = request(num_documents, _VOCAB, seed=num_documents)
        batch = pack([encoded], self.card)
        work = attention_work(batch.segments, heads, DTYPE.itemsize)
        plan = self.backend.plan_block_attention(batch.segments, batch.num_tokens, device)
        scale = heads.head_dim**-0.5
        sets = [_qkv(batch.num_tokens, heads, device) for _ in range(clock.num_sets(work.bytes))]
        attend: Callable[..., torch.Tensor] = self.backend.block_attention
        calls = [partial(attend, *each, plan, scale) for each in sets]
        ms = clock.ms(calls)
        row = _row("block attention", heads, num_documents, batch.num_tokens, ms)
        row |= work.rates(ms, self.ceilings)
        ours, owner_T = calls[0](), baselines.owners(encoded, device)
        del calls
        others: dict[str, Callable[..., Attention]] = {
            "sdpa": baselines.dense_sdpa,
            "flex": baselines.flex,
        }
        for name, baseline in others.items():
            row |= self._against(name, partial(baseline, *sets[0], owner_T), ours)
        return row

    def read(self, heads: Heads, num_documents: int) -> Row:
        """Time the span log-sum-exp of one layer with all its heads, and the torch reference."""
        clock, device = self.clock, self.clock.device
        batch = pack([request(num_documents, _VOCAB, seed=num_documents)], self.card)
        work = read_work(batch.reads, heads, DTYPE.itemsize)
        plan = self.backend.plan_span_lse(batch.reads, device)
        group, scale = heads.num_heads // heads.num_kv_heads, heads.head_dim**-0.5
        kv_heads = [head // group for head in range(heads.num_heads)]
        sets = []
        for _ in range(clock.num_sets(work.bytes)):
            q_THD, k_TKD, _ = _qkv(batch.num_tokens, heads, device)
            sets.append((q_THD[plan.signal_R], k_TKD))
        calls = [partial(self.backend.span_lse, *each, kv_heads, plan, scale) for each in sets]
        ms = clock.ms(calls)
        row = _row("span log-sum-exp", heads, num_documents, batch.num_tokens, ms)
        plain = partial(
            TORCH_BACKEND.span_lse,
            *sets[0],
            kv_heads,
            TORCH_BACKEND.plan_span_lse(batch.reads, device),
            scale,
        )
        return (
            row
            | work.rates(ms, self.ceilings)
            | {
                # It copies indices to the device, which no graph can hold.
                "torch_ms": clock.ms([plain], as_graph=False),
                "torch_difference": relative_difference(calls[0]()[0], plain()[0]),
            }
        )

    def _against(self, name: str, make: Callable[[], Attention], ours: torch.Tensor) -> Row:
        """Return a baseline's time and how far the results are apart; or why it could not run."""
        started = time.perf_counter()
        try:
            call = make()
            difference = relative_difference(ours, call())
            first_s = time.perf_counter() - started
            return {
                f"{name}_ms": self.clock.ms([call]),
                f"{name}_first_s": first_s,
                f"{name}_difference": difference,
            }
        except Exception as error:  # a baseline's failure is a result
            lines = str(error).strip().splitlines() or [""]
            return {f"{name}_ms": None, f"{name}_failed": f"{type(error).__name__}: {lines[0]}"}


def relative_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Divide the norm of the difference by the norm of the expected."""
    found, expected = found.double(), expected.double()
    return float((found - expected).norm() / expected.norm())


def _row(kernel: str, heads: Heads, num_documents: int, num_tokens: int, ms: float) -> Row:
    return {
        "kernel": kernel,
        "heads": heads.name,
        "documents": num_documents,
        "tokens": num_tokens,
        "ms": ms,
    }


def _qkv(num_tokens: int, heads: Heads, device: torch.device) -> tuple[torch.Tensor, ...]:
    counts = heads.num_heads, heads.num_kv_heads, heads.num_kv_heads
    return tuple(
        torch.randn(num_tokens, count, heads.head_dim, device=device, dtype=DTYPE)
        for count in counts
    )
