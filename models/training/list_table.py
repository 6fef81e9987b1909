"""Keeps validated lists as an Arrow table on disk: read once, mapped by every process."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
from datasets.exceptions import DatasetGenerationError

from blockrank_server.models.checkpoint.cache import cannot_write
from blockrank_server.models.data.errors import DataError
from blockrank_server.models.data.source import Source, find_files, read_lists
from blockrank_server.models.data.training_list import TrainingList
from blockrank_server.models.errors import CheckpointError

# Part of a table's name: raise it when what is written, or what is valid, changes.
_FORMAT = 2
_STRING, _STRINGS = datasets.Value("string"), datasets.List(datasets.Value("string"))
_FEATURES = datasets.Features(
    where=_STRING,
    query_id=_STRING,
    query=_STRING,
    doc_ids=_STRINGS,
    titles=_STRINGS,
    texts=datasets.List(datasets.Value("large_string")),
    relevance=datasets.List(datasets.Value("int32")),
    teacher=datasets.List(datasets.Value("float64")),
)


class ListTable(Sequence[TrainingList]):
    """Reads the lists of one source.

    Args:
        name: the source's, which metrics are reported by.
        rows: their columns are the fields of a TrainingList.
    """

    def __init__(self, name: str, rows: datasets.Dataset) -> None:
        self.name = name
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        row: dict[str, Any] = self._rows[index]
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
        }
        return TrainingList(**fields)

    def check(self, *, min_relevance: int, needs_answers: bool, needs_teacher: bool) -> None:
        """Refuse lists that lack what the loss compares with.

        Args:
            min_relevance: a document is an answer from this relevance on.
            needs_answers: whether there must be an answer, and a document that is none.
            needs_teacher: whether there must be a teacher's scores.

        Raises:
            DataError: a list lacks it; each is told by file and line.
        """
        columns = self._rows.select_columns(["where", "relevance", "teacher"])[:]
        faults = []
        for where, relevance, teacher in zip(*columns.values(), strict=True):
            num_answers = sum(r >= min_relevance for r in relevance)
            if needs_answers and not num_answers:
                faults.append(f"{where}: no document has relevance {min_relevance} or more")
            if needs_answers and num_answers == len(relevance):
                faults.append(f"{where}: every document is an answer, nothing to tell them from")
            if needs_teacher and teacher is None:
                faults.append(f"{where}: no teacher_scores, which loss.distillation needs")
        if faults:
            raise DataError(faults)


def open_table(source: Source, root: Path, cache_dir: Path) -> ListTable:
    """Open the validated lists of a source, out of the cache if its files have not changed.

    Args:
        root: relative paths start here.
        cache_dir: validated tables are kept here.

    Raises:
        DataError: rows or files are at fault; told by file and line.
        CheckpointError: the cache cannot be written.
    """
    files = find_files(source, root)

    def rows() -> Iterator[dict[str, Any]]:
        return map(asdict, read_lists(source, files))

    if source.hub:  # versions of a hub's set are the business of the library's own cache
        return ListTable(source.hub, datasets.Dataset.from_list(list(rows()), features=_FEATURES))
    state = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files.all()]
    key = hashlib.sha256(json.dumps([_FORMAT, state]).encode()).hexdigest()[:32]
    try:  # one process of a run reads, the others wait; what a kill leaves half written is not used
        table = datasets.Dataset.from_generator(
            rows, features=_FEATURES, cache_dir=str(cache_dir), fingerprint=key
        )
    except (DatasetGenerationError, OSError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, OSError):
            raise CheckpointError(cannot_write(cache_dir, cause)) from error
        raise cause from None
    name = Path(str(source.path)).name.removesuffix(".gz").removesuffix(".jsonl")
    return ListTable(name, table)
