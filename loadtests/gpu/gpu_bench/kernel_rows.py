"""Rows of the kernel tables: ours against torch, block attention beside others and tile by tile."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import torch

from blockrank_server.kernels import block_attention_triton
from blockrank_server.kernels.backend import TORCH_BACKEND, Backend
from blockrank_server.kernels.launch_config import BlockAttentionConfig
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.engine.packing import pack
from gpu_bench import baselines
from gpu_bench.clock import Clock
from gpu_bench.tables import Part
from gpu_bench.work import Ceilings, attention_work, read_work
from gpu_bench.workload import Heads, request

Row = dict[str, Any]
Attention = Callable[[], torch.Tensor]
DTYPE = torch.bfloat16
_VOCAB = 97
# The default of Hopper first.
TILES = tuple(
    BlockAttentionConfig(*sizes, split_keys=512)
    for sizes in (
        (64, 32, 4, 3),
        (64, 32, 4, 2),
        (64, 32, 4, 4),
        (64, 64, 4, 1),
        (64, 64, 4, 2),
        (64, 64, 8, 2),
        (32, 64, 4, 2),
        (128, 64, 8, 3),
    )
)


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
        """Block attention of one layer, and the torch reference."""
        batch = pack([request(num_documents, _VOCAB, seed=num_documents)], self.card)
        work = attention_work(batch.segments, heads, DTYPE.itemsize)
        calls, sets = self._attention_calls(heads, num_documents)
        ms = self.clock.ms(calls)
        plan = TORCH_BACKEND.plan_block_attention(
            batch.segments, batch.num_tokens, self.clock.device
        )
        attend: Callable[..., torch.Tensor] = TORCH_BACKEND.block_attention
        plain = partial(attend, *sets[0], plan, heads.head_dim**-0.5)
        row = _row("block attention", heads, num_documents, batch.num_tokens, ms)
        return row | work.rates(ms, self.ceilings) | self._beside_torch(plain, calls[0]())

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
        plain_plan = TORCH_BACKEND.plan_span_lse(batch.reads, device)
        plain = partial(TORCH_BACKEND.span_lse, *sets[0], kv_heads, plain_plan, scale)
        row = _row("span log-sum-exp", heads, num_documents, batch.num_tokens, ms)
        row |= work.rates(ms, self.ceilings)
        return row | self._beside_torch(lambda: plain()[0], calls[0]()[0])

    def rivals(self, part: Part, heads: Heads, num_documents: int, names: Sequence[str]) -> Row:
        """Block attention beside others: flash, sdpa, flex. One that fails is noted."""
        encoded = request(num_documents, _VOCAB, seed=num_documents)
        batch = pack([encoded], self.card)
        calls, sets = self._attention_calls(heads, num_documents)
        row: Row = {"heads": heads.name, "documents": num_documents}
        row |= {"ms": self.clock.ms(calls), "difference": 0.0}
        ours, owner_T = calls[0](), baselines.owners(batch.segments, self.clock.device)
        makers: dict[str, tuple[Callable[..., Attention], Any]] = {
            "flash": (baselines.flash, batch.segments),
            "sdpa": (baselines.dense_sdpa, owner_T),
            "flex": (baselines.flex, owner_T),
        }

        def measure(name: str) -> None:
            started = time.perf_counter()
            make, who_sees_what = makers[name]
            call = make(*sets[0], who_sees_what)
            difference = relative_difference(ours, call())
            row[f"{name}_first_s"] = time.perf_counter() - started
            row["difference"] = max(row["difference"], difference)
            row[f"{name}_ms"] = self.clock.ms([call])

        for name in names:
            part.guarded(f"{name}, {heads.name}, {num_documents}", partial(measure, name))
        return row

    def tile(self, heads: Heads, num_documents: int, config: BlockAttentionConfig) -> Row:
        """Block attention with other launch constants than the table of the kernels has."""
        with patch.object(block_attention_triton, "block_attention_config", lambda *_: config):
            calls, _ = self._attention_calls(heads, num_documents)
            ms = self.clock.ms(calls)
        names = ("block_m", "block_n", "num_warps", "num_stages")
        sizes = {name: getattr(config, name) for name in names}
        return sizes | {"heads": heads.name, "documents": num_documents, "ms": ms}

    def _attention_calls(
        self, heads: Heads, num_documents: int
    ) -> tuple[list[Attention], list[tuple[torch.Tensor, ...]]]:
        clock, device = self.clock, self.clock.device
        batch = pack([request(num_documents, _VOCAB, seed=num_documents)], self.card)
        num_bytes = attention_work(batch.segments, heads, DTYPE.itemsize).bytes
        plan = self.backend.plan_block_attention(batch.segments, batch.num_tokens, device)
        sets = [_qkv(batch.num_tokens, heads, device) for _ in range(clock.num_sets(num_bytes))]
        attend: Callable[..., torch.Tensor] = self.backend.block_attention
        return [partial(attend, *each, plan, heads.head_dim**-0.5) for each in sets], sets

    def _beside_torch(self, plain: Attention, ours: torch.Tensor) -> Row:
        return {
            # It copies indices to the device, which no graph can hold.
            "torch_ms": self.clock.ms([plain], as_graph=False),
            "torch_difference": relative_difference(ours, plain()),
        }


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
