"""Reads the demo's corpus: passages, and questions with the passages that answer them."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Document:
    """Holds what is searched."""

    doc_id: str
    title: str
    text: str

    @property
    def passage(self) -> str:
        """Join title and text, as a reranker is to read them."""
        return f"{self.title}\n{self.text}"


@dataclass(frozen=True, slots=True)
class Question:
    """Holds a query that people judged.

    Attributes:
        group: which kind of questions it belongs to (data/README.md).
        query: what was asked.
        relevance: is given for each relevant document, by doc_id; that of all others is 0.
    """

    group: str
    query: str
    relevance: dict[str, int]


def read_documents(folder: Path) -> list[Document]:
    """Read every passage of the corpus.

    Raises:
        OSError: the file is missing.
        ValueError, KeyError: a line is not of the format.
    """
    rows = _rows(folder / "passages.jsonl.gz")
    return [Document(row["doc_id"], row["title"], row["text"]) for row in rows]


def read_questions(folder: Path) -> list[Question]:
    """Read every question, in file order.

    Raises:
        OSError: the file is missing.
        ValueError, KeyError: a line is not of the format.
    """
    rows = _rows(folder / "questions.jsonl.gz")
    return [Question(row["group"], row["query"], row["relevance"]) for row in rows]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)
