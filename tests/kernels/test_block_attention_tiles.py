"""The tables of block attention: they cover what the segments say, and no more."""

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blockrank_server.kernels.block_attention_tiles import (
    BlockAttentionTables,
    BlockAttentionTilePlan,
)
from blockrank_server.kernels.launch_config import BlockAttentionConfig, block_attention_config
from blockrank_server.kernels.segments import Segment

CPU = torch.device("cpu")
SMALL = BlockAttentionConfig(block_m=6, block_n=4, num_warps=4, num_stages=1, split_keys=6)
MISTRAL = {"group": 4, "num_kv": 8}
HOPPER = block_attention_config("hopper", 128, torch.bfloat16)
LayOut = Callable[..., list[Segment]]


@st.composite
def covers(draw: st.DrawFn) -> list[Segment]:
    """Segments of any length, causal or not, that see any spans, empty, repeated and overlapping
    ones too."""
    lengths = draw(st.lists(st.integers(0, 9), min_size=1, max_size=6))
    total = sum(lengths)
    place = st.integers(0, total)
    span = st.tuples(place, place).map(lambda ends: (min(ends), max(ends)))
    segments, start = [], 0
    for length in lengths:
        full = tuple(draw(st.lists(span, max_size=4)))
        segments.append(Segment(start, start + length, full, draw(st.booleans())))
        start += length
    return segments


def covered_TT(tables: BlockAttentionTables, num_tokens: int) -> torch.Tensor:
    """How often the tiles bring each query and key together."""
    seen_TT = torch.zeros(num_tokens, num_tokens, dtype=torch.int64)
    for q_start, q_stop, own_start, first, last, *_ in tables.tiles_W8.tolist():
        for query in range(q_start, q_stop):
            for start, stop in tables.ranges_F2[first:last].tolist():
                assert start < stop
                seen_TT[query, start:stop] += 1
            seen_TT[query, own_start : query + 1] += 1
    return seen_TT


@settings(deadline=None, max_examples=300)
@given(segments=covers(), group=st.sampled_from([1, 3, 6]), num_kv=st.sampled_from([1, 66, 264]))
def test_tiles_bring_each_query_to_its_keys(
    segments: list[Segment],
    group: int,
    num_kv: int,
    visible_TT: Callable[[Sequence[Segment]], torch.Tensor],
) -> None:
    num_tokens = segments[-1].stop
    tables = BlockAttentionTilePlan(segments, num_tokens, CPU).tables(
        SMALL, group=group, num_kv=num_kv
    )
    assert torch.equal(covered_TT(tables, num_tokens), visible_TT(segments))


@settings(deadline=None, max_examples=300)
@given(segments=covers(), num_kv=st.sampled_from([1, 66]))
def test_every_query_is_written_once(segments: list[Segment], num_kv: int) -> None:
    num_tokens = segments[-1].stop
    tables = BlockAttentionTilePlan(segments, num_tokens, CPU).tables(SMALL, group=3, num_kv=num_kv)
    tiles = tables.tiles_W8.tolist()
    direct = [(tile[0], tile[1]) for tile in tiles if tile[5] < 0]
    merged = [(merge[0], merge[1]) for merge in tables.merges_X4.tolist()]
    written = sorted(token for span in direct + merged for token in range(*span))
    assert written == list(range(num_tokens))
    # Each slot is filled by one tile and read by the merge of the same queries.
    slots = {tile[5]: (tile[0], tile[1]) for tile in tiles if tile[5] >= 0}
    assert sorted(slots) == list(range(tables.num_slots))
    for q_start, q_stop, first, last in tables.merges_X4.tolist():
        assert {slots.pop(slot) for slot in range(first, last)} == {(q_start, q_stop)}
    assert not slots


def test_the_tail_over_500_documents_fills_a_large_card(laid_out: LayOut) -> None:
    segments = laid_out(0, 100, [95] * 500, 80)
    tables = BlockAttentionTilePlan(segments, segments[-1].stop, CPU).tables(HOPPER, **MISTRAL)
    assert len(tables.merges_X4) == 5  # 80 queries x 4 heads in rows of 64
    programs = tables.num_slots * MISTRAL["num_kv"]
    assert 132 <= programs <= 2 * 264
    keys = [
        sum(b - a for a, b in tables.ranges_F2[first:last].tolist()) + max(q_stop - own, 0)
        for _, q_stop, own, first, last, *_ in tables.tiles_W8.tolist()
    ]
    assert keys == sorted(keys, reverse=True)
    assert keys[0] < 2 * keys[tables.num_slots - 1]  # the splits are about equal


@pytest.mark.parametrize(
    "segments",
    [
        pytest.param([Segment(0, 10_000)], id="one-causal-request"),
        pytest.param(
            [Segment(0, 600), Segment(600, 760, ((0, 600),))], id="document-after-600-tokens"
        ),
    ],
)
def test_what_fills_a_card_or_is_short_is_not_split(segments: list[Segment]) -> None:
    tables = BlockAttentionTilePlan(segments, segments[-1].stop, CPU).tables(HOPPER, **MISTRAL)
    assert tables.num_slots == 0
    assert len(tables.merges_X4) == 0


def test_a_request_is_cut_the_same_whatever_shares_its_batch(laid_out: LayOut) -> None:
    alone = laid_out(0, 50, [200] * 20, 40)
    start = alone[-1].stop
    mates = [*laid_out(start, 9, [300] * 50, 10), Segment(start + 15_019, start + 18_019)]
    batch = [*alone, *mates]
    cuts = []
    for segments in (alone, batch):
        tables = BlockAttentionTilePlan(segments, segments[-1].stop, CPU).tables(HOPPER, **MISTRAL)
        cuts.append(
            sorted(
                (tile[:3], tables.ranges_F2[tile[3] : tile[4]].tolist())
                for tile in tables.tiles_W8.tolist()
                if tile[0] < start
            )
        )
    assert cuts[0] == cuts[1]


def test_tables_are_built_once_for_all_layers(laid_out: LayOut) -> None:
    plan = BlockAttentionTilePlan(laid_out(0, 5, [7, 8], 2), 22, CPU)
    assert plan.tables(HOPPER, **MISTRAL) is plan.tables(HOPPER, **MISTRAL)
