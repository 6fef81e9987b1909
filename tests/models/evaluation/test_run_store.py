"""Run files: what they hold, and that a stopped evaluation goes on."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blockrank_server.models.data.errors import DataError
from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.evaluation.errors import EvaluationError
from blockrank_server.models.evaluation.run_store import RunStore, Variant, external_run
from blockrank_server.models.evaluation.scorer import Progress, Scores
from blockrank_server.models.evaluation.trec import ranked, read_run, write_run

if TYPE_CHECKING:
    from tests.models.evaluation.conftest import MakeSet

MADE_BY = {"name": "toy", "dtype": "float32"}
QRELS = {"q1": {"a": 1}, "q2": {"d": 1}}
LISTS = {"q1": "a b c", "q2": "d e"}


class LastFirst:
    """Scores documents higher the later they stand; gives no answer to some queries."""

    def __init__(self, *unanswered: str) -> None:
        self.unanswered = unanswered
        self.seen: list[str] = []

    def __call__(self, lists: Sequence[Shortlist], progress: Progress) -> list[Scores]:
        self.seen += [x.query_id for x in lists]
        progress(len(lists))
        return [
            None if x.query_id in self.unanswered else [float(i) for i in range(len(x.doc_ids))]
            for x in lists
        ]


def nothing(_: int) -> None:
    pass


def test_equal_scores_keep_their_order_on_disk_too(tmp_path: Path) -> None:
    run = {"a query": ranked(["z", "m", "a"], [0.1, 0.3, 0.1])}
    write_run(tmp_path / "x.run", run, "toy")
    assert read_run(tmp_path / "x.run") == run == {"a query": [("m", 0.3), ("z", 0.1), ("a", 0.1)]}
    assert (tmp_path / "x.run").read_text().splitlines()[0] == "a query\tQ0\tm\t1\t0.3\ttoy"


def test_runs_are_made_once(tmp_path: Path, make_set: "MakeSet") -> None:
    found, variants = make_set(LISTS, QRELS), [Variant(2), Variant(None)]
    first, again = LastFirst(), LastFirst()
    made = RunStore(tmp_path, MADE_BY, first).runs(found, variants, nothing)
    assert made[Variant(None)]["q1"] == [("c", 2.0), ("b", 1.0), ("a", 0.0)]
    assert made[Variant(2)]["q1"] == [("b", 1.0), ("a", 0.0)]
    assert RunStore(tmp_path, MADE_BY, again).runs(found, variants, nothing) == made
    assert (len(first.seen), again.seen) == (4, [])


def test_only_what_is_missing_is_made(tmp_path: Path, make_set: "MakeSet") -> None:
    found, scorer = make_set(LISTS, QRELS), LastFirst()
    folder = RunStore(tmp_path, MADE_BY, scorer)
    folder.runs(found, [Variant(2)], nothing)
    folder.runs(found, [Variant(2), Variant(2, seed=5)], nothing)
    assert scorer.seen == ["q1", "q2", "q1", "q2"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "made_by.json",
        "toy.2.run",
        "toy.2.shuffled-5.run",
    ]


def test_a_stop_leaves_no_half_run(tmp_path: Path, make_set: "MakeSet") -> None:
    def stops(lists: Sequence[Shortlist], progress: Progress) -> list[Scores]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RunStore(tmp_path, MADE_BY, stops).runs(make_set(LISTS, QRELS), [Variant(None)], nothing)
    assert [p.name for p in tmp_path.iterdir()] == ["made_by.json"]


def test_a_query_without_an_answer_has_no_ranking(tmp_path: Path, make_set: "MakeSet") -> None:
    found, scorer = make_set(LISTS, QRELS), LastFirst("q1", "q2")
    folder = RunStore(tmp_path, MADE_BY, scorer)
    assert folder.runs(found, [Variant(None)], nothing) == {Variant(None): {}}
    assert folder.runs(found, [Variant(None)], nothing) == {Variant(None): {}}


def test_runs_of_another_ranker_or_of_other_lists_are_refused(
    tmp_path: Path, make_set: "MakeSet"
) -> None:
    folder = RunStore(tmp_path, MADE_BY, LastFirst())
    folder.runs(make_set(LISTS, QRELS), [Variant(None)], nothing)
    with pytest.raises(EvaluationError, match="made with another dtype"):
        RunStore(tmp_path, MADE_BY | {"dtype": "bfloat16"}, LastFirst())
    with pytest.raises(EvaluationError, match=r"toy\.all\.run is of other lists"):
        folder.runs(make_set(LISTS | {"q1": "a b"}, QRELS), [Variant(None)], nothing)


def test_another_systems_run_is_cut_as_the_lists_are(tmp_path: Path, make_set: "MakeSet") -> None:
    (tmp_path / "toy.run").write_text("q1 Q0 c 1 9 x\nq1 Q0 z 2 8 x\nq1 Q0 a 3 7 x\n")
    found = make_set(LISTS, QRELS)
    for path in (tmp_path, tmp_path / "toy.run"):
        assert external_run(path, found, 2) == {"q1": [("a", 7.0)]}
        assert external_run(path, found, None) == {"q1": [("c", 9.0), ("z", 8.0), ("a", 7.0)]}


def test_a_run_that_fits_no_query_is_refused(tmp_path: Path, make_set: "MakeSet") -> None:
    found = make_set(LISTS, QRELS)
    (tmp_path / "toy.run").write_text("q7 Q0 c 1 9 x\n")
    with pytest.raises(EvaluationError, match=r"toy\.run: ranks no query of the set toy"):
        external_run(tmp_path, found, None)
    (tmp_path / "bad.run").write_text("q1 Q0 c 1 9 x\nq1 c\n")
    with pytest.raises(DataError, match=r"bad\.run:2: expected"):
        external_run(tmp_path / "bad.run", found, None)
