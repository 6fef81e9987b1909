"""Segments: what they hold, and which are refused."""

import pytest

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
