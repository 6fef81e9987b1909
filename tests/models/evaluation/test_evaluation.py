"""A whole evaluation of toy sets, without a model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.evaluation.evaluation import Task, as_json, evaluate
from blockrank_server.models.evaluation.latency import Latency
from blockrank_server.models.evaluation.measures import parse_measures
from blockrank_server.models.evaluation.plots import plot
from blockrank_server.models.evaluation.report import as_markdown
from blockrank_server.models.evaluation.results import Judging, SetResult
from blockrank_server.models.evaluation.run_store import RunStore
from blockrank_server.models.evaluation.scorer import Progress, Scores
from blockrank_server.models.evaluation.sets import EvaluationSet

if TYPE_CHECKING:
    from tests.models.evaluation.conftest import MakeSet

LATENCY = [Latency(2, 100, 12.5, 14.0, 3), Latency(4, 190, 24.0, 25.0, 3)]


class Knows:
    """Puts documents named like the query first; blind to order, or not."""

    def __init__(self, *, is_blind: bool = True) -> None:
        self.is_blind = is_blind

    def __call__(self, lists: Sequence[Shortlist], progress: Progress) -> list[Scores]:
        return [[self._score(x.query_id, d, i) for i, d in enumerate(x.doc_ids)] for x in lists]

    def _score(self, query_id: str, doc_id: str, position: int) -> float:
        score = 0.8 if doc_id == query_id else 0.2 - ord(doc_id) / 1000
        return score if self.is_blind else score + 1 - position


@pytest.fixture
def found(make_set: "MakeSet") -> EvaluationSet:
    """Six queries whose answer is the document of the same name, at every position."""
    ids = ["a", "b", "c", "d", "e", "f"]
    return make_set(
        {q: " ".join(ids) for q in ids} | {"x": "a b"}, {q: {q: 1} for q in [*ids, "gone"]}
    )


def judging() -> Judging:
    return Judging(parse_measures(["nDCG@10", "P@1"]), 1, max_score=1.0)


def results(folder: Path, found: EvaluationSet, scorer: Knows, **task: object) -> list[SetResult]:
    made = RunStore(folder, {"name": "toy"}, scorer)
    options = {"document_counts": (None,), "seed": None, "compared": None} | task
    whole = Task(ranking=made, judging=judging(), **options)  # type: ignore[arg-type]
    return evaluate([found], whole, lambda _: None)


def test_a_perfect_ranker_wins_and_what_is_missing_counts_as_zero(
    tmp_path: Path, found: EvaluationSet
) -> None:
    (result,) = results(tmp_path, found, Knows())
    row = result.row
    assert (row.queries, row.unanswered, row.unjudged) == (7, 1, 1)
    assert row.moved == 5  # of six answers one stands first as given
    assert row.measures["P@1"].ours == pytest.approx(6 / 7)
    assert row.measures["P@1"].first_stage == pytest.approx(1 / 7)
    assert row.measures["P@1"].against_first_stage.won == 5
    assert [(g.name, g.queries, g.ours) for g in row.by_position] == [
        ("1", 1, 1.0),
        ("2-3", 2, 1.0),
        ("4-5", 2, 1.0),
        ("6-10", 1, 1.0),
    ]


def test_cut_lists_lose_the_answers_behind_the_cut(tmp_path: Path, found: EvaluationSet) -> None:
    two, four = results(tmp_path, found, Knows(), document_counts=(2, 4))
    assert two.row.measures["P@1"].ours == pytest.approx(2 / 7)
    assert four.row.measures["P@1"].ours == pytest.approx(4 / 7)
    assert (two.row.by_position[-1].name, two.row.by_position[-1].queries) == ("none", 4)


@pytest.mark.parametrize("is_blind", [True, False])
def test_shuffling_shows_whether_a_ranker_is_blind_to_order(
    tmp_path: Path, found: EvaluationSet, is_blind: bool
) -> None:
    (result,) = results(tmp_path, found, Knows(is_blind=is_blind), seed=1)
    shuffled = result.row.shuffled
    assert shuffled
    assert shuffled.effect
    assert (shuffled.effect.largest_change < 1e-9) == is_blind
    assert (shuffled.effect.same_first == 1.0) == is_blind
    assert (shuffled.against_given_order.difference == 0.0) == is_blind
    assert sum(g.queries for g in shuffled.by_position) == 6


def test_another_run_is_compared_query_by_query(tmp_path: Path, found: EvaluationSet) -> None:
    other = tmp_path / "other.run"
    other.write_text("".join(f"{q} Q0 {q} 1 1.0 x\n" for q in "abc"))
    (result,) = results(tmp_path / "ours", found, Knows(), compared=other)
    measured = result.row.measures["P@1"]
    assert measured.other == pytest.approx(3 / 7)
    assert measured.against_other
    assert (measured.against_other.won, measured.against_other.lost) == (3, 0)


def test_the_report_tells_all_of_it(tmp_path: Path, found: EvaluationSet) -> None:
    other = tmp_path / "other.run"
    other.write_text("a Q0 a 1 1.0 x\n")
    made = results(
        tmp_path / "ours", found, Knows(), document_counts=(2, 4), seed=1, compared=other
    )
    text = as_markdown("A title", made, judging(), LATENCY)
    for heading in ("nDCG@10", "P@1", "By number of documents", "Shuffled lists", "Calibration"):
        assert f"\n## {heading}\n" in text
    assert "judged queries without a ranking: toy 1." in text
    assert "| toy | 7 | 3.714 | 0.143 | 0.571 | +0.429 |" in text
    assert "| 4 | 190 | 24 ms | 25 ms | 3 |" in text
    widths = [
        {line.count("|") for line in part.splitlines() if "|" in line}
        for part in text.split("\n## ")
    ]
    assert all(len(found) <= 1 for found in widths)


@pytest.mark.parametrize(
    ("sign", "num", "verdict"),
    [(1, 9, "it helps"), (-1, 9, "it harms"), (1, 3, "it may be chance")],
)
def test_the_report_says_in_words_whether_ranking_helps(
    tmp_path: Path, sign: int, num: int, verdict: str
) -> None:
    queries = [f"q{i}" for i in range(num)]
    lists = tuple(
        Shortlist(q, q, order, ({"text": "x"},) * 2, ())
        for q in queries
        for order in [("bad", "good") if sign > 0 else ("good", "bad")]
    )
    found = EvaluationSet("toy", lists, {q: {"good": 1} for q in queries})
    run = tmp_path / "toy.run"
    run.write_text(
        "".join(
            f"{q} Q0 {d} {i} {-i} x\n"
            for q in queries
            for i, d in enumerate(reversed(lists[0].doc_ids))
        )
    )
    task = Task(run, (None,), None, None, judging())
    text = as_markdown("A title", evaluate([found], task, lambda _: None), judging(), [])
    assert f"- toy, all documents: ranking moves {num} of {num} first results; " in text
    assert f"): {verdict}" in text


def test_the_json_holds_every_row(tmp_path: Path, found: EvaluationSet) -> None:
    made = results(tmp_path, found, Knows(), document_counts=(2, 4))
    content = json.loads(json.dumps(as_json("A title", {"name": "toy"}, made, judging(), LATENCY)))
    assert [row["documents"] for row in content["sets"]] == [2, 4]
    assert content["all_sets"][1]["measures"]["P@1"]["ours"] == pytest.approx(4 / 7)
    assert content["latency"][0]["median_ms"] == 12.5


def test_pictures_are_drawn_of_what_there_is(tmp_path: Path, found: EvaluationSet) -> None:
    made = results(tmp_path / "ours", found, Knows(), document_counts=(2, 4))
    rows = [r.row for r in made]
    paths = plot(tmp_path / "all", "A title", "nDCG@10", rows, LATENCY)
    assert [p.name for p in paths] == ["measure.png", "latency.png", "calibration.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in paths)
    assert [p.name for p in plot(tmp_path / "no", "A title", "nDCG@10", rows, [])] == [
        "measure.png",
        "calibration.png",
    ]
