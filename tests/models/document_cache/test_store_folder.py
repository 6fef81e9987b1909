"""Folders that cannot be a document store are refused before anything is changed in them."""

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from blockrank_server.models.document_cache.document_store import DocumentStore
from blockrank_server.models.errors import CheckpointError

if TYPE_CHECKING:
    from tests.models.document_cache.conftest import Files


@pytest.mark.parametrize("is_another", [False, True])
def test_a_folder_of_somebody_else_is_refused(
    is_another: bool, tmp_path: Path, files: "Files"
) -> None:
    (tmp_path / ("blockrank-document-store" if is_another else "thesis.tex")).write_text("mine")
    fault = "another version" if is_another else r"holds other things \(1\) and no file"
    with pytest.raises(CheckpointError, match=f"document_store is {tmp_path}, which {fault}"):
        DocumentStore.open(tmp_path, 10**6, files.rows, (7, 5))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_new_file_system_is_taken(tmp_path: Path, files: "Files") -> None:
    (tmp_path / "lost+found").mkdir()
    DocumentStore.open(tmp_path, 10**6, files.rows, (7, 5))


def test_a_file_is_no_folder(tmp_path: Path, files: "Files") -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(CheckpointError, match=f"document_store is {path}, which"):
            DocumentStore.open(path, 10**6, files.rows, (7, 5))


def refuse_to_create(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: Any, flags: int, *rest: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number))
        return opened(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)


def test_a_folder_that_cannot_be_written_to_is_refused(
    files: "Files", monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_create(errno.EROFS, monkeypatch)
    with pytest.raises(CheckpointError, match=r"cannot be written to: Read-only file system"):
        files.open()


def test_a_store_on_a_full_disk_can_be_read(
    store: DocumentStore, files: "Files", monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write(store, 1)
    refuse_to_create(errno.ENOSPC, monkeypatch)
    again = files.open()
    assert files.read(again, 1) == files.content(1)


def test_a_bound_smaller_than_a_document_is_refused(files: "Files") -> None:
    fault = r"document_store_bytes is 100, at least 304 are needed for a document of 7 tokens"
    with pytest.raises(CheckpointError, match=fault):
        files.open(100)
    assert not files.folder.exists()
