"""Segments: what they hold, and which are refused."""

import numpy as np
import pytest

from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.segments import Segment, check_segments


def test_sizes() -> None:
    segment = Segment(10, 14, ((0, 3), (5, 5), (20, 22)))
    assert segment.num_tokens == 4
    assert segment.num_full == 5


@pytest.mark.parametrize(
    ("segments", "num_tokens"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([Segment(0, 0), Segment(0, 3), Segment(3, 3)], 3, id="empty-segments"),
        pytest.param([Segment(0, 2, ((2, 5), (0, 0))), Segment(2, 5)], 5, id="keys-that-follow"),
    ],
)
def test_a_cover_is_accepted(segments: list[Segment], num_tokens: int) -> None:
    check_segments(segments, num_tokens)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        pytest.param([], "segments cover 0 tokens, expected 4", id="nothing"),
        pytest.param([Segment(0, 3)], "segments cover 3 tokens, expected 4", id="too-short"),
        pytest.param([Segment(0, 5)], "segments cover 5 tokens, expected 4", id="too-long"),
        pytest.param(
            [Segment(0, 2), Segment(3, 4)], r"segment 1 covers 3\.\.4, expected start 2", id="gap"
        ),
        pytest.param(
            [Segment(0, 3), Segment(2, 4)],
            r"segment 1 covers 2\.\.4, expected start 3",
            id="overlap",
        ),
        pytest.param(
            [Segment(0, 4), Segment(4, 3)],
            r"segment 1 covers 4\.\.3, expected start 4",
            id="backwards",
        ),
        pytest.param(
            [Segment(0, 4, ((0, 5),))], r"segment 0 sees 0\.\.5 of 4 tokens", id="key-beyond"
        ),
        pytest.param(
            [Segment(0, 4, ((-1, 2),))], r"segment 0 sees -1\.\.2 of 4 tokens", id="key-before"
        ),
        pytest.param(
            [Segment(0, 4, ((3, 2),))], r"segment 0 sees 3\.\.2 of 4 tokens", id="key-backwards"
        ),
    ],
)
def test_anything_else_is_refused(segments: list[Segment], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_segments(segments, 4)


def test_full_spans_may_hold_any_key_of_a_table() -> None:
    key_rows = KeyRows(4, np.zeros(7, np.int32))
    check_segments([Segment(0, 4, ((4, 7),))], 4, key_rows)
    with pytest.raises(ValueError, match=r"segment 0 sees 4\.\.8 of 7 keys"):
        check_segments([Segment(0, 4, ((4, 8),))], 4, key_rows)
    with pytest.raises(ValueError, match="a table of 4 tokens, expected 3"):
        check_segments([Segment(0, 3)], 3, key_rows)


def test_tables_that_are_none() -> None:
    with pytest.raises(ValueError, match="2 rows are given for 3 tokens"):
        KeyRows(3, np.zeros(2, np.int32))
    with pytest.raises(ValueError, match="a row must be 0 or more, got -1"):
        KeyRows(3, np.array([5, -1, 2, 7], np.int32))


def test_rows_needed() -> None:
    assert KeyRows(2, np.array([5, 9, 2], np.int32)).num_rows == 10
    assert KeyRows(0, np.zeros(0, np.int32)).num_rows == 0
