"""Counts the least operations that must be computed and bytes that must be moved, from the shapes.

A multiply-add is two operations. Bytes are those of inputs and outputs, each once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PretrainedConfig

from blockrank_server.kernels.segments import Segment
from blockrank_server.kernels.span_lse import SpanRead
from blockrank_server.models.engine.packing import PackedBatch
from gpu_bench.workload import Heads


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Holds what the device reached in the same run.

    Attributes:
        tflops: what a large matrix product reached in a burst.
        sustained_tflops: what it reached after some seconds, at the card's power limit.
        gbytes: what a large copy read and wrote, together, in a second.
    """

    tflops: float
    sustained_tflops: float
    gbytes: float


@dataclass(frozen=True, slots=True)
class Work:
    """Holds the operations and bytes of one call."""

    flops: int
    bytes: int

    def rates(self, ms: float, ceilings: Ceilings) -> dict[str, float]:
        """Return rates at this time, and the share of what the ceilings allow: 1 is the floor."""
        floor_ms = max(self.flops / ceilings.tflops / 1e9, self.bytes / ceilings.gbytes / 1e6)
        return {
            "tflops": self.flops / ms / 1e9,
            "gbytes": self.bytes / ms / 1e6,
            "share": floor_ms / ms,
        }


def attention_work(segments: Sequence[Segment], heads: Heads, itemsize: int) -> Work:
    """Count one layer's block attention: q . k and weights . v for every visible pair."""
    pairs = sum(
        s.num_tokens * s.num_full + s.num_tokens * (s.num_tokens + 1) // 2 for s in segments
    )
    rows = 2 * heads.num_heads + 2 * heads.num_kv_heads  # q and the result, k and v
    return Work(
        flops=4 * heads.head_dim * heads.num_heads * pairs,
        bytes=segments[-1].stop * rows * heads.head_dim * itemsize,
    )


def read_work(reads: Sequence[SpanRead], heads: Heads, itemsize: int) -> Work:
    """Count one layer's span log-sum-exp with all heads; its spans lie before its signal tokens."""
    flops = num_bytes = 0
    for read in reads:
        num_signal = read.signal[1] - read.signal[0]
        num_keys = sum(stop - start for start, stop in read.spans)
        rows = num_signal * heads.num_heads
        flops += 2 * heads.head_dim * rows * num_keys
        num_bytes += (num_keys * heads.num_kv_heads + rows) * heads.head_dim * itemsize
        num_bytes += rows * len(read.spans) * 4
    return Work(flops, num_bytes)


def network_flops(config: PretrainedConfig, last_layer: int, batch: PackedBatch) -> dict[str, int]:
    """Count the operations of one forward pass cut at its last read layer: linear, attention, read.

    Args:
        config: describes the whole checkpoint.
        last_layer: 0-based; only the keys of all tokens and the queries of the signal tokens are
            counted of it.
    """
    heads = heads_of(config)
    hidden = config.hidden_size
    queries, keys = heads.num_heads * heads.head_dim, heads.num_kv_heads * heads.head_dim
    layer = hidden * (2 * queries + 2 * keys) + 3 * hidden * config.intermediate_size
    num_signal = sum(read.signal[1] - read.signal[0] for read in batch.reads)
    linear = batch.num_tokens * (last_layer * layer + hidden * keys) + num_signal * hidden * queries
    return {
        "linear": 2 * linear,
        "attention": last_layer * attention_work(batch.segments, heads, 2).flops,
        "read": read_work(batch.reads, heads, 2).flops,
    }


def heads_of(config: PretrainedConfig) -> Heads:
    return Heads(
        config.model_type, config.num_attention_heads, config.num_key_value_heads, config.head_dim
    )
