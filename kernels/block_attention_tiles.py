"""Cuts the work of block attention into tiles: builds the tables its Triton kernels read.

A tile is up to block_m / group query tokens of one segment and the keys they see: ranges of keys
visible to all of them, then keys own_start .. q_stop up to each query. Every KV head runs every
tile. A segment with many keys and few queries, the tail over a long list, is cut along its keys
too; such tiles leave partial results in slots, and one merge per query block joins them. To a
segment that is not causal its own keys are one more range.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray

from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.launch_config import BlockAttentionConfig
from blockrank_server.kernels.segments import Segment, Span, check_segments
from blockrank_server.kernels.upload import upload

# Programs that keep the largest card of today busy: 132 multiprocessors, two programs each. A
# constant, not the card's own count: a request's splits, hence its bits, are the same everywhere,
# whatever shares its batch.
_ENOUGH_PROGRAMS = 264


class TileColumn(IntEnum):
    """Names the columns of the table of tiles."""

    Q_START = 0
    Q_STOP = 1
    OWN_START = 2  # from here on a query sees all keys up to itself; Q_STOP or more: none of them
    FIRST_RANGE = 3  # rows of the table of ranges, FIRST_RANGE .. LAST_RANGE - 1
    LAST_RANGE = 4
    SLOT = 5  # where the partial result goes; -1: the tile writes the output itself
    # Of a strip, from which tiles are cut; 0 in a tile.
    SLOT_STEP = 6
    NUM_KEYS = 7


class MergeColumn(IntEnum):
    """Names the columns of the table of merges, each of one query block."""

    Q_START = 0
    Q_STOP = 1
    FIRST_SLOT = 2  # the partial results are in the slots FIRST_SLOT .. LAST_SLOT - 1
    LAST_SLOT = 3


class RangeColumn(IntEnum):
    """Names the columns of the table of key ranges."""

    KEY_START = 0
    KEY_STOP = 1


@dataclass(frozen=True, slots=True, eq=False)
class BlockAttentionTables:
    """Holds what the kernels read, on the device; F = key ranges, W = tiles, X = merges."""

    tiles_W8: torch.Tensor  # int32, columns as in TileColumn
    merges_X4: torch.Tensor  # int32, columns as in MergeColumn
    ranges_F2: torch.Tensor  # int32, columns as in RangeColumn
    num_slots: int


@dataclass(slots=True)
class _Work:
    """Collects strips: runs of query tokens whose tiles share one list of key ranges."""

    block_q: int
    strips: list[tuple[int, ...]] = field(default_factory=list)
    ranges: list[Span] = field(default_factory=list)
    merges: list[tuple[int, ...]] = field(default_factory=list)
    num_slots: int = 0
    stored: dict[tuple[Span, ...], tuple[int, int]] = field(default_factory=dict)

    def add(self, segment: Segment, own_start: int, keys: tuple[Span, ...]) -> None:
        self._strip(segment, own_start, keys, slot=-1, slot_step=0)

    def add_split(self, segment: Segment, pieces: Sequence[tuple[Span, ...]]) -> None:
        """Add one strip for each piece; the last also takes a causal segment's own keys."""
        first, num = self.num_slots, len(pieces)
        for i, piece in enumerate(pieces):
            # A start past every query: the piece has no keys of its own segment.
            own_start, keys = segment.stop, piece
            if i == num - 1 and segment.is_causal:
                own_start, keys = _take_neighbour(segment.start, piece)
            self._strip(segment, own_start, keys, slot=first + i, slot_step=num)
        for start in range(segment.start, segment.stop, self.block_q):
            stop = min(start + self.block_q, segment.stop)
            merge = start, stop, self.num_slots, self.num_slots + num
            self.merges.append(merge)  # in the order of MergeColumn
            self.num_slots += num

    def _strip(
        self, segment: Segment, own_start: int, keys: tuple[Span, ...], *, slot: int, slot_step: int
    ) -> None:
        if keys not in self.stored:
            self.stored[keys] = len(self.ranges), len(self.ranges) + len(keys)
            self.ranges.extend(keys)
        first, last = self.stored[keys]
        num_keys = sum(stop - start for start, stop in keys)
        strip = segment.start, segment.stop, own_start, first, last, slot, slot_step, num_keys
        self.strips.append(strip)  # in the order of TileColumn


class BlockAttentionTilePlan:
    """Prepares segments once for all layers of a forward pass, as tables of the kernels.

    Args:
        segments: cover 0 .. num_tokens exactly once.
        key_rows: says in which row of k and v each key stands; None: in that of its number.

    Attributes:
        rows_S: the table on the device, or None.

    Raises:
        ValueError: the segments do not cover the tokens.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        num_tokens: int,
        device: torch.device,
        key_rows: KeyRows | None = None,
    ) -> None:
        check_segments(segments, num_tokens, key_rows)
        self.num_tokens = num_tokens
        self.key_rows = key_rows
        self.rows_S = None if key_rows is None else upload(key_rows.rows_S, device)
        self._segments = tuple(segments)
        self._device = device
        self._tables: dict[tuple[BlockAttentionConfig, int, int], BlockAttentionTables] = {}

    def tables(
        self, config: BlockAttentionConfig, *, group: int, num_kv: int
    ) -> BlockAttentionTables:
        """Return the tables for heads of one shape; the first layer builds them for all.

        Args:
            config: says how large a tile is and when keys are split.
            group: is the number of query heads per KV head.
            num_kv: is the number of KV heads; the fewer there are, the more a segment is split.
        """
        key = config, group, num_kv
        if key not in self._tables:
            work = _cut(self._segments, config, group, num_kv)
            self._tables[key] = _to_device(work, self._device)
        return self._tables[key]


def _cut(
    segments: Sequence[Segment], config: BlockAttentionConfig, group: int, num_kv: int
) -> _Work:
    work = _Work(block_q=config.block_m // group)
    joined: dict[tuple[Span, ...], tuple[Span, ...]] = {}
    for segment in segments:
        if segment.num_tokens == 0:
            continue
        full, num_full = segment.full, segment.num_full
        if not segment.is_causal:
            full = *full, (segment.start, segment.stop)
            num_full += segment.num_tokens
        if full not in joined:
            joined[full] = _joined(full)
        programs = -(-segment.num_tokens // work.block_q) * num_kv
        num_splits = min(-(-_ENOUGH_PROGRAMS // programs), num_full // config.split_keys)
        if num_splits > 1:
            work.add_split(segment, _pieces(joined[full], num_splits, config.block_n))
        elif segment.is_causal:
            work.add(segment, *_take_neighbour(segment.start, joined[full]))
        else:
            work.add(segment, segment.stop, joined[full])
    return work


def _joined(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Merge neighbouring spans and drop the empty ones, in the same order."""
    joined: list[Span] = []
    for start, stop in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], stop
        elif start < stop:
            joined.append((start, stop))
    return tuple(joined)


def _take_neighbour(start: int, keys: tuple[Span, ...]) -> tuple[int, tuple[Span, ...]]:
    """Let a range that ends where the segment starts run on into it: one loop instead of two."""
    if keys and keys[-1][1] == start:
        return keys[-1][0], keys[:-1]
    return start, keys


def _pieces(keys: tuple[Span, ...], num: int, block_n: int) -> list[tuple[Span, ...]]:
    """Cut the keys, in order, into at most num pieces of whole blocks."""
    total = sum(stop - start for start, stop in keys)
    size = -(-total // (num * block_n)) * block_n
    pieces: list[list[Span]] = [[]]
    room = size
    for start, stop in keys:
        done = start
        while done < stop:
            if room == 0:
                pieces.append([])
                room = size
            taken = min(room, stop - done)
            pieces[-1].append((done, done + taken))
            done, room = done + taken, room - taken
    return [tuple(piece) for piece in pieces]


def _to_device(work: _Work, device: torch.device) -> BlockAttentionTables:
    tiles_W8 = _tiles(np.array(work.strips, np.int32).reshape(-1, len(TileColumn)), work.block_q)
    parts = [
        tiles_W8,
        np.array(work.merges, np.int32).reshape(-1, len(MergeColumn)),
        np.array(work.ranges, np.int32).reshape(-1, len(RangeColumn)),
    ]
    flat = upload(np.concatenate([part.ravel() for part in parts]), device)  # one copy
    edges = [0, *accumulate(part.size for part in parts)]
    tiles, merges, ranges = (
        flat[edges[i] : edges[i + 1]].view(-1, part.shape[1]) for i, part in enumerate(parts)
    )
    return BlockAttentionTables(tiles, merges, ranges, work.num_slots)


def _tiles(strips_S8: NDArray[np.int32], block_q: int) -> NDArray[np.int32]:
    """Cut strips along their queries; most keys first, so that no long tile starts last."""
    column = TileColumn
    counts_S = -(-(strips_S8[:, column.Q_STOP] - strips_S8[:, column.Q_START]) // block_q)
    strips_W8 = strips_S8.repeat(counts_S, axis=0)
    step_W = np.arange(len(strips_W8)) - (counts_S.cumsum() - counts_S).repeat(counts_S)
    tiles_W8 = strips_W8.copy()
    tiles_W8[:, column.Q_START] += step_W * block_q
    q_stop_W = tiles_W8[:, column.Q_START] + block_q
    tiles_W8[:, column.Q_STOP] = np.minimum(q_stop_W, strips_W8[:, column.Q_STOP])
    tiles_W8[:, column.SLOT] += step_W * strips_W8[:, column.SLOT_STEP]
    tiles_W8[:, [column.SLOT_STEP, column.NUM_KEYS]] = 0
    num_own_W = tiles_W8[:, column.Q_STOP] - tiles_W8[:, column.OWN_START]
    num_keys_W = strips_W8[:, column.NUM_KEYS] + np.maximum(num_own_W, 0)
    longest_first_W = np.argsort(-num_keys_W, kind="stable")
    return tiles_W8[longest_first_W]
