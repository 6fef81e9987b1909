"""One row of BlockRank's format: every form it may have, and what is wrong with others."""

from typing import Any

import pytest

from blockrank_server.models.data.training_list import RowError, parse_row

STRINGS = {"query": "q", "documents": ["a", "b", "c"], "answer_ids": [1]}
DICTS = {
    "query_id": 7,
    "query": "q",
    "documents": [
        {"doc_id": "x", "title": "A", "text": "a"},
        {"doc_id": "y", "text": "b"},
        {"doc_id": 3, "title": None, "text": "c"},
    ],
    "answer_ids": ["y", 3],
}


def test_strings_with_indices() -> None:
    found = parse_row(STRINGS, "lists.jsonl:4")
    assert found.doc_ids == ("0", "1", "2")
    assert found.texts == ("a", "b", "c")
    assert found.titles == ("", "", "")
    assert found.relevance == (0, 1, 0)
    assert (found.where, found.query_id) == ("lists.jsonl:4", "4")


def test_documents_with_ids_and_titles() -> None:
    found = parse_row(DICTS, "lists.jsonl:4")
    assert found.doc_ids == ("x", "y", "3")
    assert found.titles == ("A", "", "")
    assert found.relevance == (0, 1, 1)
    assert found.query_id == "7"


def test_documents_without_ids_are_named_by_index() -> None:
    documents = [{"text": "a"}, "b"]
    found = parse_row(STRINGS | {"documents": documents, "answer_ids": ["1"]}, "f:1")
    assert found.relevance == (0, 1)


def test_qrels_take_the_place_of_answers_and_are_graded() -> None:
    row = {k: v for k, v in DICTS.items() if k != "answer_ids"}
    qrels = {"7": {"x": 2.0, "elsewhere": 1.0}, "8": {"y": 1.0}}
    assert parse_row(row, "f:1", qrels).relevance == (2, 0, 0)


def test_teacher_scores_from_the_row_or_a_file() -> None:
    row = STRINGS | {"teacher_scores": [0, 1.5, -2]}
    assert parse_row(row, "f:1").teacher == (0.0, 1.5, -2.0)
    teacher = {"1": {"0": 3.0, "1": 2.0, "2": 1.0}}
    assert parse_row(row, "f:1", teacher=teacher).teacher == (3.0, 2.0, 1.0)
    assert parse_row(STRINGS, "f:1").teacher is None


BAD: dict[str, tuple[Any, str]] = {
    "no object": ([1], "is no JSON object"),
    "no query": ({"documents": ["a"]}, "query is missing or empty"),
    "blank query": (STRINGS | {"query": " "}, "query is missing or empty"),
    "no documents": ({"query": "q"}, "documents is missing or no list"),
    "empty documents": (STRINGS | {"documents": []}, "documents is empty"),
    "documents as a dict": (STRINGS | {"documents": {"0": "a"}}, "documents is missing or no"),
    "a number": (STRINGS | {"documents": ["a", 3]}, r"documents\[1\] is no string and has no"),
    "no text": (STRINGS | {"documents": [{"title": "a"}]}, r"documents\[0\] is no string"),
    "title": (STRINGS | {"documents": [{"title": 1, "text": "a"}]}, r"documents\[0\]\.title"),
    "doc_id": (STRINGS | {"documents": [{"doc_id": [1], "text": ""}]}, r"documents\[0\]\.doc_id"),
    "doc_id twice": (
        STRINGS | {"documents": [{"doc_id": "1", "text": "a"}, "b"]},
        "holds a doc_id twice",
    ),
    "answer not in the list": (STRINGS | {"answer_ids": [0, 3]}, r"answer_ids\[1\] is no document"),
    "negative index": (STRINGS | {"answer_ids": [-1]}, r"answer_ids\[0\] is no document"),
    "answer of another type": (STRINGS | {"answer_ids": [True]}, r"answer_ids\[0\] is neither"),
    "no answers": (STRINGS | {"answer_ids": []}, "answer_ids is empty"),
    "answers missing": ({"query": "q", "documents": ["a"]}, "answer_ids is missing"),
    "teacher of another length": (STRINGS | {"teacher_scores": [1]}, "teacher_scores holds 1, doc"),
    "teacher not finite": (
        STRINGS | {"teacher_scores": [1, float("nan"), 2]},
        r"teacher_scores\[1\] is no finite number",
    ),
}


@pytest.mark.parametrize(("row", "message"), BAD.values(), ids=BAD)
def test_other_rows_are_refused(row: Any, message: str) -> None:
    with pytest.raises(RowError, match=message):
        parse_row(row, "f:1")


def test_with_a_teacher_answers_may_be_missing() -> None:
    row = {k: v for k, v in STRINGS.items() if k != "answer_ids"}
    assert parse_row(row | {"teacher_scores": [0, 1, 2]}, "f:1").relevance == (0, 0, 0)


def test_documents_that_the_teacher_did_not_score() -> None:
    with pytest.raises(RowError, match=r"the teacher has no score for documents\[2\]"):
        parse_row(STRINGS, "f:1", teacher={"1": {"0": 3.0, "1": 2.0}})
