"""Reads judgements for queries and documents: qrels, and a teacher's scores."""

import math
from pathlib import Path

from blockrank_server.models.data.errors import DataError
from blockrank_server.models.data.numbered_lines import numbered_lines

_MAX_RELEVANCE = 2**31 - 1

Judgements = dict[str, dict[str, float]]
"""A number for a query and a document: the relevance, or a teacher's score."""


def read_qrels(path: Path) -> Judgements:
    """Read query, document, relevance; or TREC's query, iteration, document, relevance.

    Raises:
        DataError: a line is of neither form; the file is empty.
    """
    return _read(path, columns={3: (0, 1, 2), 4: (0, 2, 3)}, kind=int)


def read_teacher(path: Path) -> Judgements:
    """Read query, document, score; or a TREC run (query, Q0, document, rank, score, tag).

    Raises:
        DataError: a line is of neither form; the file is empty.
    """
    return _read(path, columns={3: (0, 1, 2), 6: (0, 2, 4)}, kind=float)


def _read(
    path: Path, columns: dict[int, tuple[int, int, int]], kind: type[int] | type[float]
) -> Judgements:
    numbers: Judgements = {}
    is_first = True
    for line_number, line in numbered_lines(path):
        was_first, is_first = is_first, False
        parts = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
        try:
            query, document, number = columns[len(parts)]
            value = kind(parts[number])
            if not math.isfinite(value) or (kind is int and abs(value) > _MAX_RELEVANCE):
                raise ValueError("not finite, or of no relevance that is ever given")
        except (KeyError, ValueError, OverflowError) as error:
            if was_first and parts[0].lower() in ("query-id", "query_id", "qid"):
                continue  # a header
            names = " or ".join(map(str, columns))
            problem = f"expected {names} columns" if isinstance(error, KeyError) else "no number"
            raise DataError([f"{path}:{line_number}: {problem}"]) from error
        numbers.setdefault(parts[query], {})[parts[document]] = value
    if not numbers:
        raise DataError([f"{path}: holds no judgement"])
    return numbers
