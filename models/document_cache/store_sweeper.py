"""Counts the files of a document store, and deletes the oldest where there are too many.

Several processes may do so in one folder: all of them count, and one at a time deletes. How old a
file is tells its modification time, which is set anew whenever it is read.
"""

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from blockrank_server.models.document_cache.store_folder import LOCK_NAME

_FOLDER, _FILE = re.compile(r"[0-9a-f]{2}"), re.compile(r"[0-9a-f]{64}")
TEMPORARY = ".part"
# What a process that was killed has left behind. Nobody writes one file for so long.
_LEFT_BEHIND_S = 600


class Scan(NamedTuple):
    """Holds what a look into the folder has found, and what was deleted then."""

    num_entries: int
    used_bytes: int
    num_deleted: int = 0


class _Found(NamedTuple):
    """Describes a file; the least is the oldest."""

    modified_s: float
    num_bytes: int
    path: str


def scan(folder: Path) -> Scan:
    """Count files and bytes. Those that come or go meanwhile may be counted or not.

    Raises:
        OSError: the folder cannot be read.
    """
    files = list(_files(folder))
    return Scan(len(files), sum(each.num_bytes for each in files))


def sweep(folder: Path, limit: int, on_error: Callable[[], None]) -> Scan:
    """Delete the oldest files until those left have no more bytes than the limit.

    Where another process is about it, this only counts.

    Args:
        on_error: called for each file that cannot be deleted.

    Raises:
        OSError: the folder cannot be read or locked.
    """
    with _lock(folder) as is_ours:
        if not is_ours:
            return scan(folder)
        files = sorted(_files(folder))
        used, num_deleted = sum(each.num_bytes for each in files), 0
        for each in files:
            if used <= limit:
                break
            try:
                os.unlink(each.path)
            except FileNotFoundError:
                pass
            except OSError:
                on_error()
                continue
            used -= each.num_bytes
            num_deleted += 1
        return Scan(len(files) - num_deleted, used, num_deleted)


def _files(folder: Path) -> Iterator[_Found]:
    """Find the documents two folders down; delete what was left half written long ago."""
    for first in _entries(folder):
        if not _FOLDER.fullmatch(first.name):
            continue
        for second in _entries(first.path):
            if not _FOLDER.fullmatch(second.name):
                continue
            for file in _entries(second.path):
                with suppress(FileNotFoundError):
                    found = file.stat(follow_symlinks=False)
                    if _FILE.fullmatch(file.name):
                        yield _Found(found.st_mtime, found.st_size, file.path)
                    elif file.name.endswith(TEMPORARY):
                        _delete_old(file.path, found.st_mtime)


def _entries(folder: str | Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _delete_old(path: str, modified_s: float) -> None:
    if time.time() - modified_s > _LEFT_BEHIND_S:
        with suppress(OSError):
            os.unlink(path)


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Say whether no other process has the folder's lock; if so, it is held meanwhile."""
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)  # which gives the lock up
