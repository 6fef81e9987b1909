"""Validated lists as an Arrow table on disk: read once, mapped into memory by every process."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from filelock import FileLock

from blockrank_server.models.training.config import Source
from blockrank_server.models.training.errors import DataError
from blockrank_server.models.training.lists import TrainingList
from blockrank_server.models.training.sources import find_files, read_lists

# Part of a table's name: raise it when what is written, or what is valid, changes.
_FORMAT = 1
_ROWS_AT_ONCE = 256
_SCHEMA = pa.schema(
    [
        ("where", pa.string()),
        ("query_id", pa.string()),
        ("query", pa.string()),
        ("doc_ids", pa.list_(pa.string())),
        ("titles", pa.list_(pa.string())),
        ("texts", pa.list_(pa.large_string())),
        ("relevance", pa.list_(pa.int32())),
        ("teacher", pa.list_(pa.float64())),
    ]
)


class ListTable(Sequence[TrainingList]):
    """The lists of one source.

    Args:
        name: of the source, for metrics.
        rows: of the schema above.
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

    def check(self, *, min_relevance: int, needs_teacher: bool) -> None:
        """Refuse lists without a positive, or without the teacher's scores where those are needed.

        Raises:
            DataError: naming file and line of each.
        """
        columns = self._rows.select_columns(["where", "relevance", "teacher"])[:]
        faults = []
        for where, relevance, teacher in zip(*columns.values(), strict=True):
            if max(relevance) < min_relevance:
                faults.append(f"{where}: no document has relevance {min_relevance} or more")
            if needs_teacher and teacher is None:
                faults.append(f"{where}: no teacher_scores, which loss.distillation needs")
        if faults:
            raise DataError(faults)


def open_table(source: Source, root: Path, cache_dir: Path) -> ListTable:
    """The validated lists of a source, out of the cache if its files have not changed.

    Args:
        source: of the config.
        root: where relative paths start.
        cache_dir: for tables.

    Raises:
        DataError: by file and line.
    """
    name = _name(source)
    files = find_files(source, root)
    if source.hub:  # versions of a hub's set are the business of the library's own cache
        return ListTable(name, _in_memory(read_lists(source, files)))
    state = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files.all()]
    key = hashlib.sha256(json.dumps([_FORMAT, state]).encode()).hexdigest()[:32]
    path = cache_dir / f"{key}.arrow"
    cache_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # one process of a run reads, the others wait
        if not path.exists():
            _write(path, read_lists(source, files))
    return ListTable(name, datasets.Dataset.from_file(str(path)))


def _name(source: Source) -> str:
    if source.hub:
        return source.hub
    return Path(str(source.path)).name.removesuffix(".gz").removesuffix(".jsonl")


def _batches(lists: Iterable[TrainingList]) -> Iterator[pa.RecordBatch]:
    left = iter(lists)
    while chunk := list(islice(left, _ROWS_AT_ONCE)):
        yield pa.RecordBatch.from_pylist([asdict(x) for x in chunk], schema=_SCHEMA)


def _in_memory(lists: Iterable[TrainingList]) -> datasets.Dataset:
    return datasets.Dataset(pa.Table.from_batches(_batches(lists), _SCHEMA))


def _write(path: Path, lists: Iterable[TrainingList]) -> None:
    """All lists or no file: a process may be killed meanwhile."""
    handle, scratch = tempfile.mkstemp(prefix=".", suffix=".arrow", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file, pa.ipc.new_stream(file, _SCHEMA) as writer:
            for batch in _batches(lists):
                writer.write_batch(batch)
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise
