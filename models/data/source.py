"""Finds the files of a source of lists, and reads every row with the file and line it stands on."""

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from blockrank_server.models.data.errors import DataError
from blockrank_server.models.data.judgements import read_qrels, read_teacher
from blockrank_server.models.data.numbered_lines import numbered_lines
from blockrank_server.models.data.training_list import RowError, TrainingList, parse_row
from blockrank_server.models.files.text import TextError, parse_json

LISTS, PASSAGES, QRELS = ".lists.jsonl.gz", ".passages.jsonl.gz", ".qrels.tsv"
"""What follows a set's name."""
# So many faults are told at once, then reading stops.
_MAX_FAULTS = 100

Rows = Iterator[tuple[str, Any]]


class Source(BaseModel, extra="forbid", frozen=True):
    """Names the files of one set of training lists."""

    path: str | None = Field(
        default=None,
        description="NAME of NAME.lists.jsonl.gz, NAME.passages.jsonl.gz and NAME.qrels.tsv; or a "
        "file .jsonl or .jsonl.gz of BlockRank's format; or a pattern with * for its shards.",
    )
    hub: str | None = Field(
        default=None,
        description="Data set on the hub (owner/name) whose rows are of BlockRank's format.",
    )
    split: str = Field(default="train", description="Split of the hub's data set.")
    subset: str | None = Field(default=None, description="Subset of the hub's data set.")
    qrels: str | None = Field(
        default=None,
        description="File of judgements (TSV or TREC) instead of the rows' answer_ids.",
    )
    teacher: str | None = Field(
        default=None,
        description="File of a teacher's scores: a TREC run, or TSV of query, document and score.",
    )
    needs_teacher: bool = Field(
        default=True,
        description="false: rows may lack a teacher's scores; loss.distillation leaves those out.",
    )
    documents: tuple[int, int] | None = Field(
        default=None, description="Takes the place of data.documents for this source."
    )
    negatives_from_first: int | None = Field(
        default=None,
        gt=0,
        description="Takes the place of data.negatives_from_first for this source.",
    )
    lists_per_epoch: int | None = Field(
        default=None,
        ge=0,
        description="Lists that are drawn in an epoch. null draws each list once, 0 none: then the "
        "source only validates.",
    )
    validation_lists: int = Field(
        default=0, ge=0, description="Lists that are held out of training, in blocks of neighbours."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("a source needs path or hub, and not both")
        return self


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """Lists the files of a source.

    Attributes:
        lists: files with one row a line, read in this order.
        passages: the documents of lists that only name doc_ids, or None.
        qrels: the judgements that take the place of answer_ids, or None.
        teacher: the scores of a teacher, or None.
    """

    lists: tuple[Path, ...]
    passages: Path | None
    qrels: Path | None
    teacher: Path | None

    def all(self) -> list[Path]:
        """Return every file that is read."""
        return [*self.lists, *(p for p in (self.passages, self.qrels, self.teacher) if p)]


def find_files(source: Source, root: Path) -> SourceFiles:
    """Return the files that a source names.

    Raises:
        DataError: there is none, or one is missing.
    """
    qrels = root / source.qrels if source.qrels else None
    teacher = root / source.teacher if source.teacher else None
    if source.path is None:
        return _existing(SourceFiles((), None, qrels, teacher))
    path = root / source.path
    if "*" in source.path:
        lists = tuple(map(Path, sorted(glob.glob(str(path), recursive=True))))
        if not lists:
            raise DataError([f"{path}: no such file"])
        return _existing(SourceFiles(lists, None, qrels, teacher))
    if not path.name or path.name == "..":
        raise DataError([f"{path}: is a folder; name a set in it"])
    if path.suffix in (".gz", ".jsonl"):
        return _existing(SourceFiles((path,), None, qrels, teacher))
    beside = path.with_name(path.name + QRELS)
    return _existing(
        SourceFiles(
            (path.with_name(path.name + LISTS),),
            path.with_name(path.name + PASSAGES),
            qrels or (beside if beside.exists() else None),
            teacher,
        )
    )


def read_lists(source: Source, files: SourceFiles) -> Iterator[TrainingList]:
    """Yield every list of a source, in order.

    Raises:
        DataError: rows are no training lists, told by file and line; a file has no row.
    """
    qrels = read_qrels(files.qrels) if files.qrels else None
    teacher = read_teacher(files.teacher) if files.teacher else None
    faults: list[str] = []
    for where, row in _hub_rows(source) if source.hub else file_rows(files):
        try:
            if isinstance(row, RowError):
                raise row
            yield parse_row(row, where, qrels, teacher)
        except RowError as error:
            faults.append(f"{where}: {error}")
            if len(faults) == _MAX_FAULTS:
                break
    if faults:
        raise DataError(faults)


def _existing(files: SourceFiles) -> SourceFiles:
    try:
        missing = [path for path in files.all() if not path.is_file()]
    except OSError as error:  # a folder that may not be looked into, a name that is too long
        raise DataError([f"{error.filename}: {error.strerror}"]) from error
    if missing:
        raise DataError([f"{path}: no such file" for path in missing])
    return files


def file_rows(files: SourceFiles) -> Rows:
    """Yield where each row stands, and the row with its documents, or the RowError that it is.

    Raises:
        DataError: a file cannot be read or is empty; a passage has no doc_id.
    """
    passages = dict(_passages(files.passages)) if files.passages else None
    for path in files.lists:
        number = 0
        for number, line in numbered_lines(path):
            row = _parse(line)
            yield f"{path}:{number}", row if passages is None else _with_documents(row, passages)
        if not number:
            raise DataError([f"{path}: is empty"])


def _parse(line: str) -> Any:
    """Return the line's value, or what is wrong with it."""
    try:
        return parse_json(line)
    except TextError as error:
        return RowError(str(error))


def _passages(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in numbered_lines(path):
        row = _parse(line)
        if isinstance(row, RowError):
            raise DataError([f"{path}:{number}: {row}"])
        if not isinstance(row, dict) or not isinstance(row.get("doc_id"), str):
            raise DataError([f"{path}:{number}: has no doc_id"])
        yield row["doc_id"], row


def _with_documents(row: Any, passages: dict[str, dict[str, Any]]) -> Any:
    """Return the row with the passages that it names."""
    if not isinstance(row, dict) or not isinstance(doc_ids := row.get("doc_ids"), list):
        return row if isinstance(row, RowError) else RowError("doc_ids is missing or no list")
    known = [isinstance(doc_id, str) and doc_id in passages for doc_id in doc_ids]
    if missing := [i for i, is_known in enumerate(known) if not is_known]:
        return RowError(f"doc_ids[{missing[0]}] is no passage of the set")
    return row | {"documents": [passages[doc_id] for doc_id in doc_ids]}


def _hub_rows(source: Source) -> Rows:
    # Here and not on top: evaluation reads files without it.
    import datasets  # noqa: PLC0415

    try:
        rows = datasets.load_dataset(source.hub, source.subset, split=source.split)
    except Exception as error:  # datasets raises errors of many kinds, its hub client of more
        raise DataError([f"cannot load {source.hub} from the hub: {error}"]) from error
    number = 0
    for number, row in enumerate(rows, 1):
        yield f"{source.hub}[{source.split}]:{number}", row
    if not number:
        raise DataError([f"{source.hub}[{source.split}]: is empty"])
