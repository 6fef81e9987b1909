"""What a score owes to the rest of its list, of rankers for which that is known."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from blockrank_server.models.calibration.errors import CalibrationError
from blockrank_server.models.calibration.invariance import (
    ListInvariance,
    Loss,
    Rank,
    Scored,
    Shift,
    Shuffles,
    company_shifts,
    cuts,
    list_invariance,
    rank_parts,
    shuffle_changes,
)
from blockrank_server.models.calibration.invariance_report import invariance_markdown
from blockrank_server.models.calibration.invariant_lists import draw_whole_lists, measure_invariance
from blockrank_server.models.data.shortlists import Document, Shortlist
from blockrank_server.models.evaluation.sets import EvaluationSet

EASY = tuple({"title": "easy", "text": f"{-9 - i}"} for i in range(10))


def documents(num: int, seed: int = 0) -> tuple[Document, ...]:
    """Documents whose text is what a ranker thinks of them."""
    drawn = np.random.default_rng(seed).normal(0, 2, num)
    return tuple({"title": "", "text": f"{value:.6f}"} for value in drawn)


def values(given: Sequence[Document]) -> np.ndarray:
    return np.array([float(each["text"]) for each in given])


def level(given: Sequence[Document]) -> float:
    return math.log(float(np.exp(values(given)).mean()))


def ranker(level_weight: float, per_place: float = 0.0) -> Rank:
    """Scores by the calibration's formula; with per_place it favours what is given late."""

    def one(given: Sequence[Document]) -> Scored:
        u = values(given) + per_place * np.arange(len(given))
        shares = np.exp(u) / np.exp(u).sum()
        mean = math.log(float(np.exp(u).mean()))
        scores = np.log(len(given) * shares) + level_weight * mean
        return Scored(scores, 1 / (1 + np.exp(-scores)), shares)

    return lambda _, lists: list(map(one, lists))


def shortlist(name: str = "q", num: int = 103, seed: int = 0) -> Shortlist:
    ids = tuple(f"{name}-{i}" for i in range(num))
    return Shortlist(name, name, ids, documents(num, seed), ())


def test_parts_hold_every_document_once_and_answer_in_its_place() -> None:
    found = cuts(100, np.random.default_rng(3))
    assert {name: len(parts) for name, parts in found.items()} == {
        "2 x 50 at random": 2,
        "4 x 25 at random": 4,
        "5 x 20 at random": 5,
        "10 x 10 at random": 10,
        "20 x 5 at random": 20,
        "4 x 25 in a row": 4,
        "10 x 10 in a row": 10,
        "20 x 5 in a row": 20,
    }
    given = documents(100)
    for name, parts in found.items():
        joined = np.concatenate(parts)
        assert sorted(joined.tolist()) == list(range(100))
        assert (joined.tolist() == list(range(100))) is name.endswith("in a row")
        scores = rank_parts(ranker(1.0), "q", given, parts).scores
        assert scores == pytest.approx(values(given))


def test_what_adds_back_the_whole_level_owes_nothing_to_its_list() -> None:
    found = list_invariance(
        ranker(1.0), "one", shortlist(), {"q-4": 2, "q-7": 1}, EASY, 5, np.random.default_rng(0)
    )
    for shift in found.shifts.values():
        assert np.abs(shift.scores).max() < 1e-9
        assert np.abs(shift.probabilities).max() < 1e-9
    assert [loss.by_score for loss in found.losses.values()] == [0.0] * 8
    assert found.shuffles.has_one_order


def test_shares_of_parts_are_merged_into_a_wrong_order() -> None:
    """The best of a part of bad ones has as large a share as that of good ones."""
    given = tuple({"title": "", "text": f"{40 - i}"} for i in range(100))
    ids = tuple(f"q-{i}" for i in range(100))
    found = list_invariance(
        ranker(1.0),
        "one",
        Shortlist("q", "q", ids, given, ()),
        {"q-0": 1, "q-1": 1},
        EASY,
        1,
        np.random.default_rng(0),
    )
    loss = found.losses["4 x 25 in a row"]
    # The second is behind three firsts of other parts: from place 2 it falls to 5.
    best = 1 + 1 / math.log2(3)
    assert loss.by_share == pytest.approx(1 - (1 + 1 / math.log2(6)) / best, abs=1e-4)
    assert loss.by_score == 0.0


def test_company_shifts_what_stays_by_the_level_that_is_not_added_back() -> None:
    given = documents(20)
    best = int(np.argmax(values(given)))
    found = company_shifts(ranker(0.25), "q", given, EASY, np.random.default_rng(0))
    rest = [each for i, each in enumerate(given) if i != best]
    expected = {
        "20 documents, without the best": (19, level(rest)),
        "20 documents, 10 copies of the best added": (20, level([*given, *[given[best]] * 10])),
        "20 documents, 10 easy ones added": (20, level([*given, *EASY])),
    }
    for name, (num, now) in expected.items():
        shift = found[name].scores
        assert shift == pytest.approx(np.full(num, 0.75 * (level(given) - now)), abs=1e-9)
    assert len(found) == 4
    another = found["20 documents, 10 copies of another added"].scores
    possible = [
        0.75 * (level(given) - level([*given, *[given[i]] * 10])) for i in range(20) if i != best
    ]
    assert min(abs(another[0] - each) for each in possible) < 1e-9


def test_an_order_that_follows_the_places_is_seen() -> None:
    given = documents(20)
    rng = np.random.default_rng(0)
    steady = shuffle_changes(ranker(0.5), "q", given, 9, rng)
    assert steady.has_one_order
    assert steady.largest_change < 1e-9
    moved = shuffle_changes(ranker(0.5, per_place=0.5), "q", given, 9, rng)
    assert not moved.has_one_order
    assert moved.largest_change > 0.1


def test_equal_documents_may_change_places() -> None:
    given = documents(4) * 3
    assert shuffle_changes(ranker(0.5), "q", given, 9, np.random.default_rng(0)).has_one_order


def some_set(name: str, nums: Sequence[int]) -> EvaluationSet:
    lists = tuple(shortlist(f"{name}{i}", num, seed=i) for i, num in enumerate(nums))
    judged = {x.query_id: {x.doc_ids[0]: 1} for x in lists}
    return EvaluationSet(name, lists, judged)


def test_judged_lists_that_are_long_enough_are_drawn() -> None:
    one, other = some_set("one", [100, 99, 120, 130]), some_set("other", [100])
    del one.qrels["one3"]
    drawn = draw_whole_lists([one, other], 9, seed=1)
    assert {x.query_id for _, x in drawn} == {"one0", "one2", "other0"}
    assert len(draw_whole_lists([one, other], 1, seed=1)) == 2
    with pytest.raises(CalibrationError, match="no list with judgements has 100 documents"):
        draw_whole_lists([some_set("one", [99])], 1, seed=1)


def test_easy_documents_come_from_other_sets() -> None:
    sets = [some_set("one", [100, 100]), some_set("other", [110])]
    seen: dict[str, set[str]] = {}
    rank = ranker(0.5)

    def watching(query: str, lists: Sequence[Sequence[Document]]) -> Sequence[Scored]:
        seen.setdefault(query, set()).update(x["title"] for given in lists for x in given)
        return rank(query, lists)

    named = [
        EvaluationSet(
            each.name,
            tuple(
                Shortlist(x.query_id, x.query, x.doc_ids, tuple(
                    {"title": each.name, "text": d["text"]} for d in x.documents
                ), ())
                for x in each.lists
            ),
            each.qrels,
        )
        for each in sets
    ]  # fmt: skip
    steps: list[int] = []
    found = list(measure_invariance(watching, draw_whole_lists(named, 2, 1), 2, 1, steps.append))
    assert [x.group for x in found] == ["one", "one", "other"]
    assert steps == [1, 1, 1]
    assert seen == {name: {"one", "other"} for name in ("one0", "one1", "other0")}


def test_the_report_has_a_row_for_each_change_and_a_column_for_each_set() -> None:
    def measured(group: str, by: float, *, has_one_order: bool) -> ListInvariance:
        shift = Shift(np.array([by, by + 0.2]), np.array([0.0, by]))
        return ListInvariance(
            group, {"halved": shift}, {"2 x 50": Loss(by / 10, by)}, Shuffles(has_one_order, by)
        )

    lists = [measured("one", 0.1, has_one_order=True), measured("two", 0.3, has_one_order=False)]
    table = invariance_markdown(lists, 7).splitlines()
    assert table[0].startswith("| lists: 2 | sd of the score (goal: 0.15) |")
    assert table[0].endswith("| sd, one (1) | sd, two (1) |")
    name, sd, mean, _, one, two = table[2].strip("| ").split(" | ")
    assert (name, one, two) == ("halved", "0.100", "0.100")
    assert sd == "0.141 (0.100 to 0.141)"
    assert mean == "+0.300 (+0.200 to +0.400)"
    assert table[6] == (
        "| 2 x 50 | +0.0200 (+0.0100 to +0.0300) | +0.2000 (+0.1000 to +0.3000) "
        "| +0.0100 | +0.0300 |"
    )
    assert table[8].startswith("Shuffled 7 times, 1 of 2 lists of 20 documents")
    assert "the largest change of p was 0.3 (goal: 0.001)" in table[8]
