"""Measuring heads, and choosing among them."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.evaluation.errors import EvaluationError
from blockrank_server.models.evaluation.head_choice import HeadChoice
from blockrank_server.models.evaluation.head_masses import (
    HeadMass,
    all_heads_card,
    draw_lists,
    measure_heads,
)

if TYPE_CHECKING:
    from tests.models.conftest import OpenTiny
    from tests.models.evaluation.conftest import MakeSet

POSITIVE = np.array([False, True, False])
# Two layers of two heads: 0-1 finds the answer, 1-0 half of the time, 1-1 against it.
GOOD, EVEN, BAD = [0.1, 0.8, 0.1], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.0, 0.5]


def lists(*rows: list[list[float]]) -> list[HeadMass]:
    return [HeadMass(np.array(row, np.float32), POSITIVE) for row in rows]


def choice(temperature: float = 0.1, layers: tuple[int, int] = (0, 1)) -> HeadChoice:
    row, other = [EVEN, GOOD, GOOD, BAD], [EVEN, GOOD, BAD, BAD]
    masses = {"one": lists(row, other, row, other), "two": lists(row, other)}
    return HeadChoice(masses, 2, layers, temperature)


def test_the_score_sets_relevant_documents_against_the_list() -> None:
    found = dict(choice().ranked())
    share = np.exp(8) / (np.exp(8) + 2 * np.exp(1))
    assert found[0, 1] == pytest.approx(share)
    assert found[0, 0] == pytest.approx(1 / 3)
    assert next(head for head, _ in choice().ranked()) == (0, 1)


def test_the_best_heads_are_taken_alone_or_together_or_by_layer() -> None:
    assert choice().top(2) == [(0, 1), (1, 0)]
    assert choice().greedy(3) == [(0, 1)]
    assert choice().whole_layer() == [(0, 0), (0, 1)]
    assert choice(layers=(1, 1)).top(1) == [(1, 0)]


def test_greedy_adds_a_head_that_helps_where_the_first_fails() -> None:
    left, right = [[0.1, 0.9, 0.0], [0.6, 0.4, 0.0]], [[0.6, 0.4, 0.0], [0.1, 0.9, 0.0]]
    masses = {"one": lists(*[left, right] * 4)}
    assert sorted(HeadChoice(masses, 2, (0, 0), 0.1).greedy(2)) == [(0, 0), (0, 1)]


def test_the_report_is_on_lists_that_were_not_chosen_on() -> None:
    masses = {"one": lists([GOOD], [GOOD], [BAD], [BAD])}
    found = HeadChoice(masses, 1, (0, 0), 0.1)
    assert found.judge(found.chosen_on, [(0, 0)]).reciprocal_rank == 1.0
    assert found.judge(found.held_out, [(0, 0)]).reciprocal_rank == pytest.approx(1 / 3)


def test_ties_count_against_a_head() -> None:
    found = HeadChoice({"one": lists([EVEN], [EVEN])}, 1, (0, 0), 0.1)
    assert found.judge(found.held_out, [(0, 0)]).by_set == {"one": pytest.approx(1 / 3)}


def test_every_set_counts_the_same() -> None:
    masses = {"one": lists([GOOD], [GOOD]), "two": lists(*[[BAD]] * 10)}
    found = HeadChoice(masses, 1, (0, 0), 0.1)
    assert found.judge(masses, [(0, 0)]).reciprocal_rank == pytest.approx((1 + 1 / 3) / 2)


def test_heads_measured_alone_make_up_the_score(
    open_tiny: "OpenTiny", blockrank_card: Any, make_set: "MakeSet"
) -> None:
    x = make_set({"river": "ocean bank tree"}, {}).lists[0]
    whole = Card.model_validate(blockrank_card)
    last, heads = 4, 8
    ranker = open_tiny("blockrank", all_heads_card(whole, last).model_dump(mode="json"))
    (measured,) = measure_heads(ranker, [(x, POSITIVE)], lambda _: None)
    plain = open_tiny("blockrank", blockrank_card)
    num_heads = len(measured.mass_HN) // (last + 1)
    assert num_heads * (last + 1) == len(measured.mass_HN)
    assert heads >= num_heads
    found = measured.mass_HN[last * num_heads :].mean(0)
    assert found.tolist() == pytest.approx(plain.rank(x.query, x.documents), abs=1e-6)


def test_long_lists_keep_a_relevant_document(make_set: "MakeSet") -> None:
    found = make_set({"q1": "a b c d e", "q2": "a b c"}, {"q1": {"e": 1}, "q2": {"b": 1}})
    drawn = {
        x.query_id: (x.doc_ids, positive.tolist()) for x, positive in draw_lists(found, 9, 3, 1)
    }
    assert drawn["q1"] == (("a", "b", "e"), [False, False, True])
    assert drawn["q2"] == (("a", "b", "c"), [False, True, False])


def test_lists_with_nothing_to_tell_apart_are_left_out(make_set: "MakeSet") -> None:
    found = make_set({"q1": "a b", "q2": "a", "q3": "c d"}, {"q1": {"a": 1}, "q2": {"a": 1}})
    with pytest.raises(EvaluationError, match="1 lists hold relevant and other documents"):
        draw_lists(found, 9, 3, 1)
