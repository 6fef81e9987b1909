"""Keeps shortlists on disk: NAME.lists.jsonl.gz, NAME.passages.jsonl.gz and NAME.qrels.tsv."""

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockrank_server.models.data.numbered_lines import numbered_lines
from blockrank_server.models.files.output_file import replacing

Document = dict[str, str]


@dataclass(frozen=True, slots=True)
class Shortlist:
    """Holds a query and its documents in first-stage order.

    Attributes:
        query_id: names the query in the qrels.
        doc_ids: one id for each document.
        documents: each is {title, text}.
        answer_ids: the doc_ids that are known to be relevant; others may be as well.
    """

    query_id: str
    query: str
    doc_ids: tuple[str, ...]
    documents: tuple[Document, ...]
    answer_ids: tuple[str, ...]

    def first(self, num_documents: int) -> "Shortlist":
        """Keep the first documents only."""
        return Shortlist(
            self.query_id,
            self.query,
            self.doc_ids[:num_documents],
            self.documents[:num_documents],
            self.answer_ids,
        )


def set_names(folder: Path) -> list[str]:
    """Return the names of the sets in a folder, sorted."""
    return sorted(p.name.removesuffix(".lists.jsonl.gz") for p in folder.glob("*.lists.jsonl.gz"))


def read_shortlists(folder: Path, name: str) -> list[Shortlist]:
    """Read every list of a set, in file order.

    Raises:
        DataError: a file is missing or cannot be read.
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


def documents_by_id(lists: Iterable[Shortlist]) -> dict[str, Document]:
    """Return every document of the lists once, in the order met."""
    return {
        doc_id: document
        for x in lists
        for doc_id, document in zip(x.doc_ids, x.documents, strict=True)
    }


def title_and_text(document: Document) -> str:
    """Join title and text of a document, for what knows no titles."""
    return f"{document['title']} {document['text']}".strip()


def write_rows(path: Path, kind: str, rows: Iterable[dict[str, Any]]) -> None:
    """Write one file of a set; the same rows give the same bytes.

    Args:
        path: FOLDER/NAME of the set.
        kind: .lists or .passages.
        rows: each becomes a line of JSON.

    Raises:
        OSError: the file cannot be written.
    """
    # Without a time in its header the file's bytes follow from its rows.
    with (
        replacing(path.with_name(f"{path.name}{kind}.jsonl.gz")) as scratch,
        scratch.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as file,
    ):
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for _, line in numbered_lines(path):
        yield json.loads(line)
