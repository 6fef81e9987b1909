"""Says which folder a document store is, and refuses one that is somebody else's."""

import errno
import os
from pathlib import Path

from blockrank_server.models.errors import CheckpointError

_MARKER = "blockrank-document-store"
_CONTENT = b"Documents that blockrank-server has computed. It deletes the oldest. Format 1.\n"
# A file system puts the first one into its top folder; the others are ours, in the making.
_HARMLESS = ("lost+found", ".blockrank-")
_FULL = (errno.ENOSPC, errno.EDQUOT)
LOCK_NAME = ".blockrank-lock"


def open_folder(folder: Path) -> None:
    """Make a folder a document store, or see that it is one and can be written to.

    Raises:
        CheckpointError: it cannot be, and why; nothing was changed in it then.
    """
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        check_owner(folder)
        _write_marker(folder)
    except OSError as error:
        if error.errno in _FULL and (folder / _MARKER).exists():
            return  # it was one, what it holds can be read, and there may be room later
        raise CheckpointError(
            f"document_store is {folder}, which cannot be written to: {error.strerror}"
        ) from error


def check_owner(folder: Path) -> None:
    """Refuse a folder that holds other things; one that is not there yet is fine.

    Raises:
        CheckpointError: it is no folder, or not a document store.
        OSError: it cannot be looked into.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise CheckpointError(f"document_store is {folder}, which is no folder")
    marker = folder / _MARKER
    if marker.exists():
        if marker.read_bytes() != _CONTENT:
            raise CheckpointError(
                f"document_store is {folder}, which another version of this program has written"
            )
        return
    if others := [name for name in os.listdir(folder) if not name.startswith(_HARMLESS)]:
        raise CheckpointError(
            f"document_store is {folder}, which holds other things ({len(others)}) and no file "
            f"{_MARKER}: name an empty folder, or one that this program has made"
        )


def _write_marker(folder: Path) -> None:
    """Write the marker, also where it is there: this shows that the folder can be written to."""
    temporary = folder / f".blockrank-{os.getpid()}-{os.urandom(4).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, _CONTENT)
        os.rename(temporary, folder / _MARKER)
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)
