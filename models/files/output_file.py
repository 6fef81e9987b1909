"""Writes files whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file to write, which takes the place of path in the end: a stop leaves no half of it.

    What is there and is no plain file, such as /dev/stdout, is written to as it is.

    Raises:
        OSError: naming path where the system names no file.
    """
    is_plain = not path.is_symlink() and (path.is_file() or not path.exists())
    scratch = path.with_name(f".{path.name}.part") if is_plain else path
    try:
        yield scratch
        if is_plain:
            os.replace(scratch, path)
    except BaseException as error:
        if is_plain:
            with contextlib.suppress(OSError):
                scratch.unlink()
        if isinstance(error, OSError) and (error.filename or str(scratch)) == str(scratch):
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
