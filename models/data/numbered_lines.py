"""Text files and gzip files, line by line with the number of each line."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from blockrank_server.models.data.errors import DataError


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
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
