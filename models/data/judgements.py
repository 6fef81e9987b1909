"""Numbers for queries and documents: qrels, and a teacher's scores."""

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from blockrank_server.models.data.errors import DataError

Numbers = dict[str, dict[str, float]]


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a text file, or of a gzip file (.gz), counted from 1; blank ones left out.

    Raises:
        DataError: the file is missing, no UTF-8, or no whole gzip file.
    """
    number = 0
    try:
        with _open_text(path) as file:
            for line in file:
                number += 1
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise DataError([f"{path}: not UTF-8 after line {number}"]) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError([f"{path}: cannot be read after line {number}: {error}"]) from error


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def read_qrels(path: Path) -> Numbers:
    """Judgements: query, document, relevance; or TREC's query, iteration, document, relevance.

    Raises:
        DataError: a line is of neither form; the file is empty.
    """
    return _read(path, columns={3: (0, 1, 2), 4: (0, 2, 3)}, kind=int)


def read_teacher(path: Path) -> Numbers:
    """Scores: query, document, score; or a TREC run (query, Q0, document, rank, score, tag).

    Raises:
        DataError: a line is of neither form; the file is empty.
    """
    return _read(path, columns={3: (0, 1, 2), 6: (0, 2, 4)}, kind=float)


def _read(
    path: Path, columns: dict[int, tuple[int, int, int]], kind: type[int] | type[float]
) -> Numbers:
    numbers: Numbers = {}
    is_first = True
    for line_number, line in read_lines(path):
        was_first, is_first = is_first, False
        parts = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
        try:
            query, document, number = columns[len(parts)]
            value = kind(parts[number])
            if not math.isfinite(value):
                raise ValueError("not finite")
        except (KeyError, ValueError) as error:
            if was_first and parts[0].lower() in ("query-id", "query_id", "qid"):
                continue  # a header
            names = " or ".join(map(str, columns))
            problem = f"expected {names} columns" if isinstance(error, KeyError) else "no number"
            raise DataError([f"{path}:{line_number}: {problem}"]) from error
        numbers.setdefault(parts[query], {})[parts[document]] = value
    if not numbers:
        raise DataError([f"{path}: holds no judgement"])
    return numbers
