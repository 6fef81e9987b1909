"""The work of the span log-sum-exp, cut into chunks: the tables its Triton kernels read.

A chunk is up to CHUNK_KEYS keys of one span. Where all spans are short each is one chunk and the
chunks' results are final; otherwise a merge joins the chunks of every span.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray

from blockrank_server.kernels.span_lse import SpanRead, check_reads
from blockrank_server.kernels.upload import upload

# Long enough that a document is one chunk as a rule, short enough that the one span of a whole
# prompt keeps a card busy. A constant, so that a request's bits do not depend on its batch.
CHUNK_KEYS = 512


@dataclass(frozen=True, slots=True, eq=False)
class HeadGroups:
    """Heads read, sorted by the KV head they share; Y = KV heads read, H = heads."""

    groups_Y3: torch.Tensor  # int32: KV head, first and last place in order_H
    order_H: torch.Tensor  # int32: index into the heads of q and of the result
    largest: int  # heads of the largest group


@lru_cache(maxsize=256)  # a card has a few read points; a copy to the device a batch costs more
def head_groups(kv_head_H: tuple[int, ...], device: torch.device) -> HeadGroups:
    """Group heads by the KV head each of them reads; at least one head."""
    order_H = np.argsort(kv_head_H, kind="stable").astype(np.int32)
    kv_Y, first_Y, count_Y = np.unique(
        np.array(kv_head_H)[order_H], return_index=True, return_counts=True
    )
    groups_Y3 = np.stack([kv_Y, first_Y, first_Y + count_Y], axis=1).astype(np.int32)
    return HeadGroups(
        groups_Y3=upload(groups_Y3, device),
        order_H=upload(order_H, device),
        largest=int(count_Y.max()),
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where one request's rows and results stand among those of the batch."""

    num_signal: int
    num_spans: int
    num_chunks: int
    signal_before: int  # signal tokens of the requests before
    spans_before: int  # sum of signal tokens x spans of the requests before
    chunks_before: int  # sum of signal tokens x chunks of the requests before


class SpanLseTilePlan:
    """Readings prepared once for all read layers of a forward pass; what the Triton kernel takes.

    Args:
        reads: one a request, at least one.
        device: where the tables live.

    Attributes:
        signal_R: [R] int64, the signal tokens of all requests on the packed axis.
        min_tokens: the least T that holds every signal token and span.
        layout: one a request.
        chunks_C8: int32: key start, key stop, first row of q, signal tokens, the first one's token,
            place of the chunk in its request, num_chunks, chunks_before.
        spans_S8: int32: first and last chunk of a span, num_chunks, chunks_before, place of the
            span in its request, num_spans, spans_before, signal tokens. [0, 8] where nothing needs
            merging.
        num_chunk_results: sum of signal tokens x chunks; times H, the values the kernel writes.
        num_results: sum of signal tokens x spans.

    Raises:
        ValueError: no readings, or a span that ends before it starts.
    """

    def __init__(self, reads: Sequence[SpanRead], device: torch.device) -> None:
        self.min_tokens = check_reads(reads)
        signal = [np.arange(*read.signal) for read in reads]
        self.signal_R = upload(np.concatenate(signal), device)
        spans = [np.array(read.spans, np.int32).reshape(-1, 2) for read in reads]
        counts = [_num_chunks(spans_N2) for spans_N2 in spans]
        self.layout = _laid_out(reads, counts)
        last = self.layout[-1]
        self.num_results = last.spans_before + last.num_signal * last.num_spans
        self.num_chunk_results = last.chunks_before + last.num_signal * last.num_chunks
        prepared = zip(reads, spans, counts, self.layout, strict=True)
        chunks_C8 = np.concatenate([_chunks(*each) for each in prepared])
        spans_S8 = np.concatenate([_spans(*each) for each in zip(counts, self.layout, strict=True)])
        if len(chunks_C8) == len(spans_S8):
            spans_S8 = spans_S8[:0]
        self.chunks_C8 = upload(chunks_C8, device)
        self.spans_S8 = upload(spans_S8, device)


def _num_chunks(spans_N2: NDArray[np.int32]) -> NDArray[np.int32]:
    """At least one a span, for an empty one has a result too."""
    counts_N: NDArray[np.int32] = -(-(spans_N2[:, 1] - spans_N2[:, 0]) // CHUNK_KEYS)
    return counts_N.clip(min=1)


def _laid_out(reads: Sequence[SpanRead], counts: Sequence[NDArray[np.int32]]) -> list[_Layout]:
    signals = [read.signal[1] - read.signal[0] for read in reads]
    chunks = [int(counts_N.sum()) for counts_N in counts]
    spans = [len(read.spans) for read in reads]
    before = [
        accumulate(numbers, initial=0)
        for numbers in (
            signals,
            [r * n for r, n in zip(signals, spans, strict=True)],
            [r * c for r, c in zip(signals, chunks, strict=True)],
        )
    ]
    return [_Layout(*each) for each in zip(signals, spans, chunks, *before, strict=False)]


def _chunks(
    read: SpanRead, spans_N2: NDArray[np.int32], counts_N: NDArray[np.int32], layout: _Layout
) -> NDArray[np.int32]:
    place_C = np.arange(layout.num_chunks)
    step_C = place_C - (counts_N.cumsum() - counts_N).repeat(counts_N)
    chunks_C8 = np.empty((layout.num_chunks, 8), np.int32)
    chunks_C8[:, 0] = spans_N2[:, 0].repeat(counts_N) + step_C * CHUNK_KEYS
    # No signal token sees a key past the last of them.
    stop_C = np.minimum(spans_N2[:, 1].repeat(counts_N), read.signal[1])
    chunks_C8[:, 1] = np.minimum(chunks_C8[:, 0] + CHUNK_KEYS, stop_C)
    chunks_C8[:, 2:5] = layout.signal_before, layout.num_signal, read.signal[0]
    chunks_C8[:, 5] = place_C
    chunks_C8[:, 6:] = layout.num_chunks, layout.chunks_before
    return chunks_C8


def _spans(counts_N: NDArray[np.int32], layout: _Layout) -> NDArray[np.int32]:
    spans_N8 = np.empty((layout.num_spans, 8), np.int32)
    spans_N8[:, 1] = counts_N.cumsum()
    spans_N8[:, 0] = spans_N8[:, 1] - counts_N
    spans_N8[:, 2:4] = layout.num_chunks, layout.chunks_before
    spans_N8[:, 4] = np.arange(layout.num_spans)
    spans_N8[:, 5:] = layout.num_spans, layout.spans_before, layout.num_signal
    return spans_N8
