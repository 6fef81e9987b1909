"""Files of documents: written whole or not at all, checked when they are read, bounded."""

import errno
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockrank_server.models.document_cache.document_store import DocumentStore
from blockrank_server.models.document_cache.stored_file import RowFormat

if TYPE_CHECKING:
    from tests.models.document_cache.conftest import Files


def test_what_was_written_is_read_in_another_process_too(
    store: DocumentStore, files: "Files"
) -> None:
    kept = files.write(store, 7)
    other = files.open()
    assert files.read(other, 7) == files.content(7)
    assert files.read(other, 8) is None
    with other.open_file(kept.digest) as file:  # type: ignore[union-attr]
        found = file.kept
    names = ("digest", "num_tokens", "num_rows", "scored", "is_cut")
    assert [getattr(found, name) for name in names] == [getattr(kept, name) for name in names]
    assert files.failures(other) == {}


def test_nobody_else_can_read_it(store: DocumentStore, files: "Files") -> None:
    files.write(store, 1)
    path = files.path(1)
    modes = [each.stat().st_mode & 0o777 for each in (files.folder, path.parent, path)]
    assert modes == [0o700, 0o700, 0o600]


def test_every_flipped_bit_is_found(store: DocumentStore, files: "Files") -> None:
    files.write(store, 1, num_rows=2)
    path = files.path(1)
    whole = path.read_bytes()
    assert len(whole) == files.header_bytes + len(files.content(1, 2)) == files.rows.file_bytes(2)
    for bit in range(8 * len(whole)):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        assert files.read(store, 1) is None
        assert not path.exists()  # so that it is written anew
    assert files.failures(store) == {"broken": 8 * len(whole)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(length=st.integers(0, 400), end=st.binary(max_size=100))
def test_a_file_cut_short_or_gone_on_with_is_found(
    store: DocumentStore, files: "Files", length: int, end: bytes
) -> None:
    files.write(store, 1)
    path = files.path(1)
    whole = path.read_bytes()
    changed = whole[:length] + end
    path.write_bytes(changed)
    assert (files.read(store, 1) is None) == (changed != whole)


def test_a_file_under_anothers_name_is_found(store: DocumentStore, files: "Files") -> None:
    files.write(store, 1)
    files.path(2).parent.mkdir(parents=True, exist_ok=True)
    os.rename(files.path(1), files.path(2))
    assert files.read(store, 2) is None
    assert files.failures(store) == {"broken": 1}


@pytest.mark.parametrize(
    "rows",
    [
        RowFormat("float32", num_parts=3, num_kv_heads=2, head_dim=4, part_bytes=16),
        RowFormat("bfloat16", num_parts=3, num_kv_heads=4, head_dim=2, part_bytes=16),
    ],
)
def test_a_file_of_another_kind_is_not_read(
    rows: RowFormat, store: DocumentStore, files: "Files"
) -> None:
    files.write(store, 1)
    assert files.read(files.open(rows=rows), 1) is None


def test_a_disk_that_fills_up_leaves_nothing(
    store: DocumentStore, files: "Files", monkeypatch: pytest.MonkeyPatch
) -> None:
    writev, num_left = os.writev, 100

    def fill_up(descriptor: int, parts: Any) -> int:
        nonlocal num_left
        if not num_left:
            raise OSError(errno.ENOSPC, "No space left on device")
        raw = b"".join(parts)[:num_left]
        num_left -= len(raw)
        return writev(descriptor, [raw])

    monkeypatch.setattr(os, "writev", fill_up)
    with pytest.raises(OSError, match="No space"):
        files.write(store, 1)
    assert not [path for path in files.folder.glob("*/*/*") if path.is_file()]
    monkeypatch.undo()
    files.write(store, 1)
    assert files.read(store, 1) == files.content(1)


def test_writes_that_take_a_few_bytes_each_go_on(
    store: DocumentStore, files: "Files", monkeypatch: pytest.MonkeyPatch
) -> None:
    writev, readv = os.writev, os.readv
    monkeypatch.setattr(os, "writev", lambda d, parts: writev(d, [b"".join(parts)[:11]]))
    monkeypatch.setattr(os, "readv", lambda d, parts: readv(d, [parts[0][:13]]))
    files.write(store, 1)
    assert files.read(store, 1) == files.content(1)


def test_a_folder_that_cannot_be_read_is_counted(
    store: DocumentStore, files: "Files", monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write(store, 1)

    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        assert files.read(store, 1) is None
    with monkeypatch.context() as patched:
        patched.setattr(os, "readv", refuse)
        assert files.read(store, 1) is None
    assert files.failures(store) == {"read": 2}
    assert files.read(store, 1) == files.content(1)


def test_the_oldest_give_way_between_two_shares_of_the_bound(files: "Files") -> None:
    size = files.size
    store = files.open(20 * size)
    for name in range(19):
        files.write(store, name)
        os.utime(files.path(name), (name, name))
    store.touch([files.kept(0).digest])
    store.look(files.kept(19))  # 19 and the new one are more than 95 %; 17 are 85 %
    there = [name for name in range(19) if files.path(name).exists()]
    assert there == [0, *range(3, 19)]
    stats = store.stats()
    assert (stats.evictions, stats.num_entries, stats.used_bytes) == (2, 17, 17 * size)


def test_what_is_no_document_is_never_deleted(files: "Files") -> None:
    size = files.size
    store = files.open(2 * size)
    files.write(store, 1)
    others = [files.folder / "note", files.folder / "00" / "note", files.path(1).with_name("note")]
    for other in others:
        other.write_bytes(bytes(10 * size))
    store.look(files.kept(2))
    assert all(other.exists() for other in others)


def test_what_a_killed_process_left_behind_goes(store: DocumentStore, files: "Files") -> None:
    files.write(store, 1)
    old, new = (files.path(1).with_name(name) for name in (".a.1-2-3.part", ".b.1-2-3.part"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 3600,) * 2)
    store.look()
    assert (old.exists(), new.exists()) == (False, True)
    assert store.stats().num_entries == 1
