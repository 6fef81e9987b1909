"""Reads one training list: a query, its documents, what is known of their relevance."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from blockrank_server.models.data.judgements import Judgements

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class RowError(ValueError):
    """A row is no training list; the text says why, without any of the row's own."""


@dataclass(frozen=True, slots=True)
class TrainingList:
    """Holds a query and its documents in first-stage order.

    Attributes:
        where: the file and line that the list came from.
        query_id: the line's number where the row gives no id.
        query: holds more than white space.
        doc_ids: one for each document: its index where the row gives no id.
        titles: one for each document; empty where the row gives none.
        relevance: one number for each document; 0 means not relevant, or not judged.
        teacher: one score for each document, or None.
    """

    where: str
    query_id: str
    query: str
    doc_ids: tuple[str, ...]
    titles: tuple[str, ...]
    texts: tuple[str, ...]
    relevance: tuple[int, ...]
    teacher: tuple[float, ...] | None


def parse_row(
    row: Any, where: str, qrels: Judgements | None = None, teacher: Judgements | None = None
) -> TrainingList:
    """Make a training list from a row of BlockRank's format.

    Args:
        row: {query, documents, answer_ids} and perhaps query_id and teacher_scores. With a
            teacher's scores answer_ids may be missing: then no document is known to be relevant.
        qrels: these judgements take the place of answer_ids.
        teacher: these scores take the place of teacher_scores.

    Raises:
        RowError: a field is missing or of another type, an answer is no document of the list, or
            a judgement or score is missing.
    """
    found = parse_list(row, where)
    doc_ids = found.doc_ids
    scores = _teacher(
        row, doc_ids, teacher.get(found.query_id, {}) if teacher is not None else None
    )
    if qrels is not None:
        judged = qrels.get(found.query_id, {})
        relevance = tuple(int(judged.get(doc_id, 0)) for doc_id in doc_ids)
    elif scores is not None and row.get("answer_ids") is None:
        relevance = (0,) * len(doc_ids)
    else:
        answers = parse_answers(row, doc_ids)
        if not answers:
            raise RowError("answer_ids is empty")
        relevance = tuple(int(doc_id in answers) for doc_id in doc_ids)
    return replace(found, relevance=relevance, teacher=scores)


def parse_list(row: Any, where: str) -> TrainingList:
    """Make a list from the query and documents of a row, without what is known of their relevance.

    Args:
        row: {query, documents} and perhaps query_id.

    Raises:
        RowError: a field is missing or of another type.
    """
    if not isinstance(row, Mapping):
        raise RowError("is no JSON object")
    query = row.get("query")
    if not isinstance(query, str) or not query.strip():
        raise RowError("query is missing or empty")
    query_id = row.get("query_id")
    query_id = where.rpartition(":")[2] if query_id is None else _id(query_id, "query_id")
    documents = [_document(d, i) for i, d in enumerate(_items(row, "documents"))]
    if not documents:
        raise RowError("documents is empty")
    doc_ids, titles, texts = zip(*documents, strict=True)
    if len(set(doc_ids)) != len(doc_ids):
        raise RowError("documents holds a doc_id twice")
    return TrainingList(where, query_id, query, doc_ids, titles, texts, (), None)


def parse_answers(row: Mapping[str, Any], doc_ids: Sequence[str]) -> set[str]:
    """Return the doc_ids that answer_ids names, by doc_id or by index; there may be none.

    Raises:
        RowError: an answer is no document of the list.
    """
    found = set()
    for i, answer in enumerate(_items(row, "answer_ids")):
        if isinstance(answer, bool) or not isinstance(answer, str | int):
            raise RowError(f"answer_ids[{i}] is neither a doc_id nor an index")
        if str(answer) not in doc_ids:
            raise RowError(f"answer_ids[{i}] is no document of the list")
        found.add(str(answer))
    return found


def _items(row: Mapping[str, Any], field: str) -> Sequence[Any]:
    items = row.get(field)
    if not isinstance(items, list | tuple):
        raise RowError(f"{field} is missing or no list")
    return items


def _document(document: Any, index: int) -> tuple[str, str, str]:
    """Return doc_id, title and text."""
    if isinstance(document, str):
        document = {"text": document}
    if not isinstance(document, Mapping) or not isinstance(document.get("text"), str):
        raise RowError(f"documents[{index}] is no string and has no text")
    title, doc_id = document.get("title"), document.get("doc_id")
    if title is not None and not isinstance(title, str):
        raise RowError(f"documents[{index}].title is no string")
    if isinstance(doc_id, bool) or not isinstance(doc_id, str | int | None):
        raise RowError(f"documents[{index}].doc_id is neither a string nor a number")
    doc_id = _id(index if doc_id is None else doc_id, f"documents[{index}].doc_id")
    return doc_id, title or "", document["text"]


def _id(value: object, field: str) -> str:
    """Return an id as text that a line of a run or of qrels can hold."""
    text = str(value)
    if _CONTROL.search(text):
        raise RowError(f"{field} holds a control character, such as a tab or a line break")
    return text


def _teacher(
    row: Mapping[str, Any], doc_ids: Sequence[str], scores: Mapping[str, float] | None
) -> tuple[float, ...] | None:
    """Return the scores out of the teacher's file, else of the row, else None."""
    if scores is not None:
        if missing := [i for i, doc_id in enumerate(doc_ids) if doc_id not in scores]:
            raise RowError(f"the teacher has no score for documents[{missing[0]}]")
        return tuple(scores[doc_id] for doc_id in doc_ids)
    if row.get("teacher_scores") is None:
        return None
    values = _items(row, "teacher_scores")
    if len(values) != len(doc_ids):
        raise RowError(f"teacher_scores holds {len(values)}, documents {len(doc_ids)}")
    for i, value in enumerate(values):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not _is_finite(value):
            raise RowError(f"teacher_scores[{i}] is no finite number")
    return tuple(map(float, values))


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False
