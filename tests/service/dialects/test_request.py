import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrank_server.service.dialects.request import Ranked, is_blank, rank, score_text

UNIT = st.floats(0, 1, allow_nan=False)


@given(UNIT | st.floats(0, 1000))
def test_a_score_is_a_short_json_number_with_a_point(score: float) -> None:
    text = score_text(score)
    assert "." in text
    assert "e" not in text.lower()
    assert len(text) <= 18
    assert isinstance(json.loads(text), float)
    assert json.loads(text) == pytest.approx(score, rel=1e-7, abs=1e-16)


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (0.0, "0.0"),
        (1.0, "1.0"),
        (1e-5, "0.00001"),
        (1e-20, "0.0"),
        (0.09283745288848877, "0.092837453"),
        (1.2345678e-10, "0.0000000001234568"),
        (16.0, "16.0"),
        (-3.14159265358979, "-3.1415927"),
        (-1.2345e-7, "-0.00000012345"),
        (100.0, "100.0"),
        (99999999.96, "99999999.959999993"),
        (1e8, "100000000.0"),
    ],
)
def test_score_text(score: float, text: str) -> None:
    assert score_text(score) == text


@given(st.lists(UNIT, max_size=30))
def test_results_are_sorted_and_complete(scores: list[float]) -> None:
    ranking = rank(scores)
    keys = [(-float(item.score), item.index) for item in ranking]
    assert keys == sorted(keys)
    assert sorted(item.index for item in ranking) == list(range(len(scores)))


def test_scores_equal_to_the_last_digit_shown_keep_the_input_order() -> None:
    ranking = rank([0.1234567891, 0.1234567892])
    assert [item.index for item in ranking] == [0, 1]


def test_an_order_of_its_own_decides_between_scores_that_are_shown_alike() -> None:
    ranking = rank([1.0, 1.0, 0.5], order=[17.0, 19.0, 0.0])
    assert ranking == [Ranked(1, "1.0"), Ranked(0, "1.0"), Ranked(2, "0.5")]


def test_what_is_below_the_least_score_is_left_out() -> None:
    scores = [0.1, 0.3, 0.2, 0.25]
    assert [item.index for item in rank(scores, min_score=0.2)] == [1, 3, 2]
    assert [item.index for item in rank(scores, min_score=0.2, top_n=2)] == [1, 3]
    assert rank(scores, min_score=1.0) == []
    assert [item.index for item in rank([-2.0, -1.0], min_score=-1.5)] == [1]


@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (2, 2), (3, 3), (4, 3), (None, 3)])
def test_top_n_keeps_the_best(top_n: int | None, count: int) -> None:
    ranking = rank([0.1, 0.3, 0.2], top_n=top_n)
    assert [item.index for item in ranking] == [1, 2, 0][:count]


def test_blank() -> None:
    assert is_blank(" \n\t")
    assert is_blank({"title": " ", "text": ""})
    assert not is_blank({"title": "a", "text": ""})
    assert not is_blank("a")
