"""The tables of the span log-sum-exp: they cover what the spans say, and no more."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blockrank_server.kernels import span_lse_tiles
from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.span_lse import SpanRead
from blockrank_server.kernels.span_lse_tiles import SpanLseTilePlan, head_groups

CPU = torch.device("cpu")
NUM_TOKENS, NUM_KEYS = 60, 99


@st.composite
def readings(draw: st.DrawFn) -> list[SpanRead]:
    place, behind = st.integers(0, 50), st.integers(NUM_TOKENS, NUM_KEYS)
    span = st.one_of(st.tuples(place, place), st.tuples(behind, behind)).map(
        lambda ends: (min(ends), max(ends))
    )
    signal = st.tuples(place, st.integers(0, 4)).map(lambda at: (at[0], at[0] + at[1]))
    read = st.builds(SpanRead, signal, st.lists(span, max_size=5).map(tuple))
    return draw(st.lists(read, min_size=1, max_size=3))


@settings(deadline=None, max_examples=300)
@given(reads=readings(), has_table=st.booleans())
def test_chunks_cover_the_keys_of_each_span(reads: list[SpanRead], *, has_table: bool) -> None:
    key_rows = KeyRows(NUM_TOKENS, np.zeros(NUM_KEYS, np.int32)) if has_table else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(span_lse_tiles, "CHUNK_KEYS", 7)
        plan = SpanLseTilePlan(reads, CPU, key_rows)
    assert plan.signal_R.tolist() == [token for read in reads for token in range(*read.signal)]
    chunks = iter(plan.chunks_C8.tolist())
    rows = results = partial = 0
    for read, layout in zip(reads, plan.layout, strict=True):
        num_signal = read.signal[1] - read.signal[0]
        found = [next(chunks) for _ in range(layout.num_chunks)]
        keys = [key for start, stop, *_ in found for key in range(start, stop)]
        # A token past the last signal token is seen by none, a key behind the tokens by all.
        expected = [
            key
            for start, stop in read.spans
            for key in range(start, stop)
            if key < read.signal[1] or (has_table and key >= NUM_TOKENS)
        ]
        assert keys == expected
        assert all(stop - start <= 7 for start, stop, *_ in found)
        assert [chunk[2:4] for chunk in found] == [[rows, num_signal]] * len(found)
        for start, stop, _, _, first_token, *_ in found:
            if has_table and start >= NUM_TOKENS:
                assert first_token >= stop
            else:
                assert first_token == read.signal[0]
        assert [chunk[5] for chunk in found] == list(range(layout.num_chunks))
        assert {tuple(chunk[6:]) for chunk in found} <= {(layout.num_chunks, partial)}
        assert (layout.spans_before, layout.num_spans) == (results, len(read.spans))
        rows += num_signal
        results += num_signal * len(read.spans)
        partial += num_signal * layout.num_chunks
    assert (plan.num_results, plan.num_chunk_results) == (results, partial)


@pytest.mark.parametrize(
    ("longest", "num_chunks", "num_merged"),
    [
        pytest.param(span_lse_tiles.CHUNK_KEYS, 3, 0, id="one-chunk-each"),
        pytest.param(span_lse_tiles.CHUNK_KEYS + 1, 4, 3, id="one-span-too-long"),
    ],
)
def test_only_long_spans_are_merged(longest: int, num_chunks: int, num_merged: int) -> None:
    plan = SpanLseTilePlan([SpanRead((999, 1000), ((0, longest), (0, 0), (5, 9)))], CPU)
    assert len(plan.chunks_C8) == num_chunks
    assert len(plan.spans_S8) == num_merged


def test_heads_are_grouped_by_the_kv_head_they_read() -> None:
    groups = head_groups((2, 0, 2, 2, 0), CPU)
    assert groups.groups_Y3.tolist() == [[0, 0, 2], [2, 2, 5]]
    assert groups.order_H.tolist() == [1, 4, 0, 2, 3]
    assert groups.largest == 3
