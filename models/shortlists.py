"""Shortlists on disk: NAME.lists.jsonl.gz, NAME.passages.jsonl.gz and NAME.qrels.tsv."""

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Document = dict[str, str]


@dataclass(frozen=True, slots=True)
class Shortlist:
    """A query and its documents in first-stage order.

    Attributes:
        query_id: key of the qrels.
        query: as given.
        doc_ids: one a document.
        documents: {title, text} each.
        answer_ids: doc_ids known to be relevant; may lack some.
    """

    query_id: str
    query: str
    doc_ids: tuple[str, ...]
    documents: tuple[Document, ...]
    answer_ids: tuple[str, ...]

    def first(self, num_documents: int) -> "Shortlist":
        """The same query with the first documents only."""
        return Shortlist(
            self.query_id,
            self.query,
            self.doc_ids[:num_documents],
            self.documents[:num_documents],
            self.answer_ids,
        )


def set_names(folder: Path) -> list[str]:
    """Names of the sets in a folder, sorted."""
    return sorted(p.name.removesuffix(".lists.jsonl.gz") for p in folder.glob("*.lists.jsonl.gz"))


def read_shortlists(folder: Path, name: str) -> list[Shortlist]:
    """Every list of a set, in file order.

    Raises:
        OSError: a file is missing.
        ValueError, KeyError: a line is not of the format.
    """
    documents = {
        row["doc_id"]: {"title": row["title"], "text": row["text"]}
        for row in _rows(folder / f"{name}.passages.jsonl.gz")
    }
    return [
        Shortlist(
            row["query_id"],
            row["query"],
            tuple(row["doc_ids"]),
            tuple(documents[doc_id] for doc_id in row["doc_ids"]),
            tuple(row["answer_ids"]),
        )
        for row in _rows(folder / f"{name}.lists.jsonl.gz")
    ]


def read_qrels(folder: Path, name: str) -> dict[str, dict[str, int]]:
    """Relevance by query and document.

    Raises:
        OSError: the file is missing.
        ValueError: a line is not of the format.
    """
    qrels: dict[str, dict[str, int]] = {}
    with (folder / f"{name}.qrels.tsv").open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(lines)
        for query_id, doc_id, relevance in lines:
            qrels.setdefault(query_id, {})[doc_id] = int(relevance)
    return qrels


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)
