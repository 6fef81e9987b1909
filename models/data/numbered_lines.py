"""Reads text files and gzip files, line by line with the number of each line."""

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from blockrank_server.models.data.errors import DataError
from blockrank_server.models.files.stand_in import stand_in, stand_in_at
from blockrank_server.models.files.text import TextError, decode


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file or a gzip file (.gz), counted from 1, without blank ones.

    A byte order mark is skipped, also inside: where files were put together there is one.

    Raises:
        DataError: the file is missing, no UTF-8, no whole gzip file, or another than was meant.
    """
    number = 0
    try:
        with _open(path) as file:
            for number, raw in enumerate(file, 1):
                if number == 1 and (fault := stand_in(raw)):
                    raise DataError([f"{path} {fault}"])
                line = decode(raw, str(path), number)
                if line.strip():
                    yield number, line
    except TextError as error:
        raise DataError([str(error)]) from error
    except (OSError, EOFError, zlib.error) as error:
        fault = stand_in_at(path)
        told = f" {fault}" if fault else f": cannot be read after line {number}: {error}"
        raise DataError([f"{path}{told}"]) from error


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
