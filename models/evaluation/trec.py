"""Reads and writes TREC run files: query, Q0, document, rank, score, tag."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from blockrank_server.models.data.judgements import read_teacher
from blockrank_server.models.files.output_file import replacing

Ranking = Sequence[tuple[str, float]]
"""(doc_id, score) of a query's documents, best first."""
Run = dict[str, Ranking]


def ranked(doc_ids: Sequence[str], scores: Sequence[float]) -> Ranking:
    """Return the documents best first; ties keep the order given."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    return [(doc_ids[i], scores[i]) for i in order]


def write_run(path: Path, run: Mapping[str, Ranking], tag: str) -> None:
    """Write a run, all of it or nothing. Columns are parted by tabs: ids may hold spaces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as scratch, scratch.open("w", encoding="utf-8") as file:
        for query_id, ranking in run.items():
            for rank, (doc_id, score) in enumerate(ranking, 1):
                file.write(f"{query_id}\tQ0\t{doc_id}\t{rank}\t{score!r}\t{tag}\n")


def read_run(path: Path) -> Run:
    """Read a run by its scores; equal scores keep the file's order.

    Raises:
        DataError: a line is no line of a run; the file is empty or missing.
    """
    return {q: ranked(list(found), list(found.values())) for q, found in read_teacher(path).items()}
