"""Keeps documents as files of one folder, which several processes may share.

    folder/ab/cd/abcd...    one document, by its digest, never changed
    folder/ab/cd/.abcd...   one that is being written, which is then renamed

Nothing here must end a request: what cannot be read is computed, what cannot be written is not
kept, and either is counted. There is no fsync, because what a crash has torn has a wrong checksum.
"""

import itertools
import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from blockrank_server.models.document_cache.kept import Kept
from blockrank_server.models.document_cache.store_folder import open_folder
from blockrank_server.models.document_cache.store_stats import Failure, StoreCounters, StoreStats
from blockrank_server.models.document_cache.store_sweeper import TEMPORARY, Scan, scan, sweep
from blockrank_server.models.document_cache.stored_file import (
    BrokenFileError,
    RowFormat,
    StoredFile,
    write_file,
)
from blockrank_server.models.errors import CheckpointError

# Deleting begins at the one share of the bound and ends at the other, so that it is seldom needed.
HIGH, LOW = 0.95, 0.85
# Between two looks at the folder a process writes at most this share of the bound.
_UNSEEN = 0.01


class DocumentStore:
    """Reads, writes and deletes the files of documents. Thread-safe.

    Args:
        folder: is a document store already.
        max_bytes: bounds the files of all processes together.
        rows: describes what the files hold.

    Attributes:
        counters: count what happens, in its users, too.
    """

    def __init__(self, folder: Path, max_bytes: int, rows: RowFormat) -> None:
        self._folder, self._max_bytes, self._rows = folder, max_bytes, rows
        self.counters = StoreCounters()
        self._lock = threading.Lock()  # of what follows
        self._seen = Scan(0, 0)
        self._unseen_bytes = self._unseen_entries = 0
        self._number = itertools.count()

    @classmethod
    def open(
        cls, folder: Path, max_bytes: int, rows: RowFormat, longest: tuple[int, int]
    ) -> "DocumentStore":
        """Open a folder, which is made where it is not there.

        Args:
            longest: the tokens of the longest document, and how many of them are kept.

        Raises:
            CheckpointError: the folder holds other things, or cannot be written to; or the bound
                is too small for one document.
        """
        num_tokens, num_rows = longest
        if max_bytes < (needed := rows.file_bytes(num_rows)):
            raise CheckpointError(
                f"document_store_bytes is {max_bytes}, at least {needed} are needed for a document "
                f"of {num_tokens} tokens"
            )
        open_folder(folder)
        return cls(folder, max_bytes, rows)

    def has(self, digest: bytes) -> bool:
        """Say whether there is a file, which may be broken."""
        return os.path.exists(self._path(digest))

    def open_file(self, digest: bytes) -> StoredFile | None:
        """Open the file of a document; None where there is none, or none that can be used."""
        try:
            return StoredFile(self._path(digest), digest, self._rows)
        except FileNotFoundError:
            return None
        except OSError:
            self.counters.fail(Failure.READ)
        except BrokenFileError:
            self._delete_broken(digest)
        return None

    def read(self, file: StoredFile, buffers: Sequence[memoryview]) -> bool:
        """Read a document, and say whether it is as it was written."""
        try:
            file.read(buffers)
        except OSError:
            self.counters.fail(Failure.READ)
            return False
        except BrokenFileError:
            self._delete_broken(file.kept.digest)
            return False
        self.touch([file.kept.digest])
        return True

    def touch(self, digests: Iterable[bytes]) -> None:
        """Make these the youngest."""
        for digest in digests:
            with suppress(OSError):  # it gives way earlier, then
                os.utime(self._path(digest))

    def write(self, kept: Kept, buffers: Sequence[memoryview]) -> None:
        """Write a document, unless it is there.

        Raises:
            OSError: it cannot be written; it is not there then.
        """
        if self.has(kept.digest):
            return
        if not self._has_room(kept):
            self.counters.add("dropped")
            return
        path = self._path(kept.digest)
        path.parent.parent.mkdir(0o700, exist_ok=True)
        path.parent.mkdir(0o700, exist_ok=True)
        name = f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}-{next(self._number)}{TEMPORARY}"
        temporary = path.with_name(name)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                write_file(descriptor, kept, self._rows, buffers)
            finally:
                os.close(descriptor)
            os.rename(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        self.counters.add("writes")
        with self._lock:
            self._unseen_entries += 1
            self._unseen_bytes += self._bytes_of(kept)
        if kept.is_forgotten:  # meanwhile
            self.delete([kept.digest])

    def delete(self, digests: Iterable[bytes]) -> None:
        """Delete documents; what cannot be deleted is counted and stays.

        Raises:
            OSError: the first that could not be.
        """
        failed: OSError | None = None
        for digest in digests:
            try:
                os.unlink(self._path(digest))
            except FileNotFoundError:
                pass
            except OSError as error:
                self.counters.fail(Failure.DELETE)
                failed = failed or error
        if failed is not None:
            raise failed

    def is_look_due(self, kept: Kept) -> bool:
        """Say whether the folder should be looked at before a document is written."""
        with self._lock:
            used = self._seen.used_bytes + self._unseen_bytes
            is_near = used + self._bytes_of(kept) > HIGH * self._max_bytes
            return is_near or self._unseen_bytes > _UNSEEN * self._max_bytes

    def look(self, kept: Kept | None = None) -> None:
        """Count the files anew, and delete the oldest if they are near the bound.

        Args:
            kept: is about to be written, and needs room.

        Raises:
            OSError: the folder cannot be read or locked.
        """
        seen, needed = scan(self._folder), self._bytes_of(kept) if kept else 0
        if seen.used_bytes + needed > HIGH * self._max_bytes:
            limit = int(min(LOW * self._max_bytes, self._max_bytes - needed))
            seen = sweep(self._folder, limit, lambda: self.counters.fail(Failure.DELETE))
            self.counters.add("evictions", seen.num_deleted)
        with self._lock:
            self._seen, self._unseen_bytes, self._unseen_entries = seen, 0, 0

    def stats(self) -> StoreStats:
        with self._lock:
            num_entries = self._seen.num_entries + self._unseen_entries
            used_bytes = self._seen.used_bytes + self._unseen_bytes
        return self.counters.stats(
            num_entries=num_entries, used_bytes=used_bytes, max_bytes=self._max_bytes
        )

    def _bytes_of(self, kept: Kept) -> int:
        return self._rows.file_bytes(kept.num_rows)

    def _has_room(self, kept: Kept) -> bool:
        with self._lock:
            used = self._seen.used_bytes + self._unseen_bytes
        return used + self._bytes_of(kept) <= self._max_bytes

    def _delete_broken(self, digest: bytes) -> None:
        self.counters.fail(Failure.BROKEN)
        with suppress(OSError):  # it is found broken again, then
            os.unlink(self._path(digest))

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self._folder / name[:2] / name[2:4] / name
