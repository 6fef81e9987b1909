import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blockrank_server.models.data.errors import DataError
from blockrank_server.models.evaluation.errors import EvaluationError
from blockrank_server.models.evaluation.sets import find_sets, read_set

if TYPE_CHECKING:
    from tests.models.evaluation.conftest import MakeSet, WriteSet

QRELS = "query-id\tdoc-id\trelevance\nq1\tb\t1\nq1\tx\t2\nq9\tb\t1\n"
ROW = {"query_id": "q1", "query": "what?", "documents": ["a", "b"], "answer_ids": [1]}


def write_rows(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_set_keeps_lists_in_order_and_every_judgement(
    tmp_path: Path, write_set: "WriteSet"
) -> None:
    path = write_set(tmp_path, "one", {"q1": "ab", "q2": "b"}, QRELS)
    found = read_set("one", path)
    assert [(x.query_id, x.doc_ids) for x in found.lists] == [("q1", ("a", "b")), ("q2", ("b",))]
    assert found.lists[0].documents[1] == {"title": "", "text": "All about b."}
    assert found.qrels == {"q1": {"b": 1, "x": 2}, "q9": {"b": 1}}
    assert found.num_unjudged == 1


def test_without_qrels_the_answers_are_the_judgements(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"query_id": "q2", "answer_ids": []}]
    found = read_set("long", write_rows(tmp_path / "long.jsonl", *rows))
    assert found.qrels == {"q1": {"1": 1}, "q2": {}}


def test_qrels_beside_the_long_form_win_over_its_answers(tmp_path: Path) -> None:
    (tmp_path / "long.qrels.tsv").write_text("q1\t0\t3\n")
    found = read_set("long", write_rows(tmp_path / "long.jsonl", ROW))
    assert found.qrels == {"q1": {"0": 3}}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ROW | {"documents": []}, "documents is empty"),
        (ROW | {"query_id": "q2", "answer_ids": ["c"]}, "answer_ids[0] is no document of the list"),
        (ROW, "query_id stands in an earlier line too"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(
    tmp_path: Path, row: dict[str, object], reason: str
) -> None:
    path = write_rows(tmp_path / "long.jsonl", ROW, row)
    with pytest.raises(DataError) as caught:
        read_set("long", path)
    assert str(caught.value) == f"{path}:2: {reason}"


def test_judgements_of_other_queries_are_refused(tmp_path: Path, write_set: "WriteSet") -> None:
    path = write_set(tmp_path, "one", {"q1": "ab"}, "q7\ta\t1\n")
    with pytest.raises(EvaluationError, match=r"one\.qrels\.tsv: no judgement is of a query"):
        read_set("one", path)


def test_a_folder_holds_sets_of_both_forms(tmp_path: Path, write_set: "WriteSet") -> None:
    write_set(tmp_path, "one", {"q1": "ab"}, QRELS)
    write_rows(tmp_path / "long.jsonl", ROW)
    assert list(find_sets([tmp_path])) == ["long", "one"]
    assert list(find_sets([tmp_path], ["one"])) == ["one"]
    assert list(find_sets([tmp_path / "one", tmp_path / "long.jsonl"])) == ["one", "long"]


def test_unknown_and_doubled_sets_are_refused(tmp_path: Path, write_set: "WriteSet") -> None:
    write_set(tmp_path, "one", {"q1": "ab"}, QRELS)
    with pytest.raises(EvaluationError, match="no set 'two'; there are one"):
        find_sets([tmp_path], ["two"])
    with pytest.raises(EvaluationError, match="two sets are named one"):
        find_sets([tmp_path, tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match="holds no lists"):
        find_sets([tmp_path / "empty"])


def test_a_limit_keeps_the_first_queries_and_their_judgements(make_set: "MakeSet") -> None:
    found = make_set({"q1": "a", "q2": "b"}, {"q1": {"a": 1}, "q2": {"b": 1}}).limited(1)
    assert [x.query_id for x in found.lists] == ["q1"]
    assert found.qrels == {"q1": {"a": 1}}


def test_shuffling_depends_on_seed_and_query_alone(make_set: "MakeSet") -> None:
    ids = "a b c d e f g h"
    both = make_set({"q1": ids, "q2": ids}, {}).shuffled(3)
    alone = make_set({"q2": ids}, {}).shuffled(3)
    assert both.lists[1] == alone.lists[0]
    assert both.lists[0].doc_ids != both.lists[1].doc_ids
    assert sorted(both.lists[0].doc_ids) == ids.split()
    for doc_id, document in zip(both.lists[0].doc_ids, both.lists[0].documents, strict=True):
        assert document["text"] == f"All about {doc_id}."
