"""Cuts the work of the span log-sum-exp into chunks: builds the tables its Triton kernels read.

A chunk is up to CHUNK_KEYS keys of one span. Where all spans are short each is one chunk and the
chunks' results are final; otherwise a merge joins the chunks of every span.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray

from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.span_lse import SpanRead, check_reads
from blockrank_server.kernels.upload import upload

# Long enough that a document is one chunk as a rule, short enough that the one span of a whole
# prompt keeps a card busy. A constant, so that a request's bits do not depend on its batch.
CHUNK_KEYS = 512

_MOST_TOKENS = np.iinfo(np.int32).max


class ChunkColumn(IntEnum):
    """Names columns of the table of chunks. A request has [H, signal tokens, chunks] results."""

    KEY_START = 0
    KEY_STOP = 1
    FIRST_ROW = 2  # of q: that of the request's first signal token
    NUM_SIGNAL = 3  # signal tokens of the request
    FIRST_TOKEN = 4  # the first signal token's place among the keys; past them where all are seen
    PLACE = 5  # of the chunk among those of its request
    NUM_CHUNKS = 6  # of the request
    CHUNKS_BEFORE = 7  # sum of signal tokens x chunks of the requests before


class SpanColumn(IntEnum):
    """Names the columns of the table of spans. A request has [H, signal tokens, spans] results."""

    FIRST_CHUNK = 0  # of the span: FIRST_CHUNK .. LAST_CHUNK - 1 among those of its request
    LAST_CHUNK = 1
    NUM_CHUNKS = 2  # of the request
    CHUNKS_BEFORE = 3  # sum of signal tokens x chunks of the requests before
    PLACE = 4  # of the span among those of its request
    NUM_SPANS = 5  # of the request
    SPANS_BEFORE = 6  # sum of signal tokens x spans of the requests before
    NUM_SIGNAL = 7  # signal tokens of the request


class GroupColumn(IntEnum):
    """Names the columns of the table of KV heads."""

    KV_HEAD = 0
    FIRST_HEAD = 1  # its query heads: order_H[FIRST_HEAD : LAST_HEAD]
    LAST_HEAD = 2


@dataclass(frozen=True, slots=True, eq=False)
class HeadGroups:
    """Holds the heads read, sorted by the KV head they share; Y = KV heads read, H = heads."""

    groups_Y3: torch.Tensor  # int32, columns as in GroupColumn
    order_H: torch.Tensor  # int32: index into the heads of q and of the result
    largest: int  # heads of the largest group


@lru_cache(maxsize=256)  # a card has a few read points; a copy to the device a batch costs more
def head_groups(kv_head_H: tuple[int, ...], device: torch.device) -> HeadGroups:
    """Group heads by the KV head each of them reads; at least one head."""
    order_H = np.argsort(kv_head_H, kind="stable").astype(np.int32)
    kv_Y, first_Y, count_Y = np.unique(
        np.array(kv_head_H)[order_H], return_index=True, return_counts=True
    )
    groups_Y3 = np.empty((len(kv_Y), len(GroupColumn)), np.int32)
    groups_Y3[:, GroupColumn.KV_HEAD] = kv_Y
    groups_Y3[:, GroupColumn.FIRST_HEAD] = first_Y
    groups_Y3[:, GroupColumn.LAST_HEAD] = first_Y + count_Y
    return HeadGroups(
        groups_Y3=upload(groups_Y3, device),
        order_H=upload(order_H, device),
        largest=int(count_Y.max()),
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    """Says where one request's rows and results stand among those of the batch."""

    num_signal: int
    num_spans: int
    num_chunks: int
    signal_before: int  # signal tokens of the requests before
    spans_before: int  # sum of signal tokens x spans of the requests before
    chunks_before: int  # sum of signal tokens x chunks of the requests before


class SpanLseTilePlan:
    """Readings prepared once for all read layers of a forward pass, as tables of the kernels.

    Args:
        reads: one for each request, at least one.
        key_rows: says in which row of k each key stands; None: in that of its number.

    Attributes:
        rows_V: the table on the device, or None.
        signal_R: [R] int64, the signal tokens of all requests on the packed axis.
        min_rows: the least U that holds every signal token and span.
        layout: one for each request.
        chunks_C8: int32, columns as in ChunkColumn.
        spans_S8: int32, columns as in SpanColumn; no row where nothing needs merging.
        num_chunk_results: sum of signal tokens x chunks; times H, the values the kernel writes.
        num_results: sum of signal tokens x spans.

    Raises:
        ValueError: no readings, a span that ends before it starts, or one that is not in the table.
    """

    def __init__(
        self, reads: Sequence[SpanRead], device: torch.device, key_rows: KeyRows | None = None
    ) -> None:
        self.min_rows = check_reads(reads, key_rows)
        self.rows_V = None if key_rows is None else upload(key_rows.rows_S, device)
        signal = [np.arange(*read.signal) for read in reads]
        self.signal_R = upload(np.concatenate(signal), device)
        spans = [np.array(read.spans, np.int32).reshape(-1, 2) for read in reads]
        counts = [_num_chunks(spans_N2) for spans_N2 in spans]
        self.layout = _laid_out(reads, counts)
        last = self.layout[-1]
        self.num_results = last.spans_before + last.num_signal * last.num_spans
        self.num_chunk_results = last.chunks_before + last.num_signal * last.num_chunks
        prepared = zip(reads, spans, counts, self.layout, strict=True)
        num_tokens = _MOST_TOKENS if key_rows is None else key_rows.num_tokens
        chunks_C8 = np.concatenate([_chunks(*each, num_tokens) for each in prepared])
        spans_S8 = np.concatenate([_spans(*each) for each in zip(counts, self.layout, strict=True)])
        if len(chunks_C8) == len(spans_S8):
            spans_S8 = spans_S8[:0]
        self.chunks_C8 = upload(chunks_C8, device)
        self.spans_S8 = upload(spans_S8, device)


def _num_chunks(spans_N2: NDArray[np.int32]) -> NDArray[np.int32]:
    """Count the chunks of each span: at least one, for an empty span has a result too."""
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
    read: SpanRead,
    spans_N2: NDArray[np.int32],
    counts_N: NDArray[np.int32],
    layout: _Layout,
    num_tokens: int,
) -> NDArray[np.int32]:
    place_C = np.arange(layout.num_chunks)
    step_C = place_C - (counts_N.cumsum() - counts_N).repeat(counts_N)
    column = ChunkColumn
    chunks_C8 = np.empty((layout.num_chunks, len(column)), np.int32)
    start_C = spans_N2[:, 0].repeat(counts_N) + step_C * CHUNK_KEYS
    span_stop_C = spans_N2[:, 1].repeat(counts_N)
    behind_C = start_C >= num_tokens
    # No signal token sees a token past the last of them.
    stop_C = np.where(behind_C, span_stop_C, np.minimum(span_stop_C, read.signal[1]))
    chunks_C8[:, column.KEY_START] = start_C
    chunks_C8[:, column.KEY_STOP] = np.minimum(start_C + CHUNK_KEYS, stop_C)
    chunks_C8[:, column.FIRST_ROW] = layout.signal_before
    chunks_C8[:, column.NUM_SIGNAL] = layout.num_signal
    chunks_C8[:, column.FIRST_TOKEN] = np.where(behind_C, span_stop_C, read.signal[0])
    chunks_C8[:, column.PLACE] = place_C
    chunks_C8[:, column.NUM_CHUNKS] = layout.num_chunks
    chunks_C8[:, column.CHUNKS_BEFORE] = layout.chunks_before
    return chunks_C8


def _spans(counts_N: NDArray[np.int32], layout: _Layout) -> NDArray[np.int32]:
    column = SpanColumn
    spans_N8 = np.empty((layout.num_spans, len(column)), np.int32)
    spans_N8[:, column.FIRST_CHUNK] = counts_N.cumsum() - counts_N
    spans_N8[:, column.LAST_CHUNK] = counts_N.cumsum()
    spans_N8[:, column.NUM_CHUNKS] = layout.num_chunks
    spans_N8[:, column.CHUNKS_BEFORE] = layout.chunks_before
    spans_N8[:, column.PLACE] = np.arange(layout.num_spans)
    spans_N8[:, column.NUM_SPANS] = layout.num_spans
    spans_N8[:, column.SPANS_BEFORE] = layout.spans_before
    spans_N8[:, column.NUM_SIGNAL] = layout.num_signal
    return spans_N8
