"""Writes groups of lists that rank the same documents, as `train` takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blockrank_server.models.data.shortlists import write_rows


@dataclass(frozen=True, slots=True)
class Ranked:
    """Holds what is known of one document for one query.

    Attributes:
        document: its index in the group.
        score: the teacher's; None without a teacher.
    """

    document: int
    is_answer: bool
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Holds the lists of one group.

    Attributes:
        documents: their texts.
        lists: for each list the query and its documents: answers, then the others, hardest first.
    """

    documents: list[str]
    lists: list[tuple[str, list[Ranked]]]


def write_groups(path: Path, groups: Sequence[Group]) -> None:
    """Write a set of lists and passages without titles, and tell how many there are.

    Args:
        path: FOLDER/NAME of the set.
    """
    name = path.name
    write_rows(
        path,
        ".passages",
        (
            {"doc_id": f"{name}-{i}-{j}", "title": "", "text": text}
            for i, group in enumerate(groups)
            for j, text in enumerate(group.documents)
        ),
    )
    write_rows(
        path,
        ".lists",
        (
            _row(f"{name}-{i}", j, query, ranked)
            for i, group in enumerate(groups)
            for j, (query, ranked) in enumerate(group.lists)
        ),
    )
    print(f"{path}: {len(groups)} groups, {sum(len(x.documents) for x in groups)} documents")


def _row(group: str, number: int, query: str, ranked: Sequence[Ranked]) -> dict[str, object]:
    row: dict[str, object] = {
        "query_id": f"{group}-q{number}",
        "query": query,
        "doc_ids": [f"{group}-{x.document}" for x in ranked],
        "answer_ids": [f"{group}-{x.document}" for x in ranked if x.is_answer],
    }
    if all(x.score is not None for x in ranked):
        row["teacher_scores"] = [x.score for x in ranked]
    return row
