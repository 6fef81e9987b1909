"""Defines the file of one kept document: 64 bytes of header, then its keys and values.

The bytes behind the header are those of the document's pages in order, without the rows of the last
page that nobody uses; so they are read into pages as they are.

The checksum covers the digest, the header and the rows: a file that was cut short, that a crash
left half written, in which a bit has flipped or which bears another's name is told from a whole
one. It is CRC-32, which is in every Python, finds every burst of up to 32 bits, and checks 2.8 GB/s
where BLAKE2b does 0.6 (loadtests/results/LOG.md): there must be time to check a hundred documents
before a request is answered. It keeps nobody out who may write into the folder.
"""

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from blockrank_server.models.document_cache.kept import Kept

MAGIC, VERSION = b"BLOCKDOC", 1
# magic, version, is_cut, dtype; parts, heads, dim; tokens, rows, scored span; checksum; room.
_HEADER = struct.Struct("<8sHBx8s3I4II12x")
_MAX_BUFFERS = 512  # systems take at least 1024 in one call


class BrokenFileError(Exception):
    """A file is not the whole, unchanged file of the document that its name says."""


@dataclass(frozen=True, slots=True)
class RowFormat:
    """Describes what is kept of one token: keys and values of some heads in some layers.

    Attributes:
        dtype: the name that torch gives it.
        num_parts: counts keys and values of all layers.
        part_bytes: bytes of one part of one token.
    """

    dtype: str
    num_parts: int
    num_kv_heads: int
    head_dim: int
    part_bytes: int

    def file_bytes(self, num_rows: int) -> int:
        """Count the bytes of a file of so many tokens."""
        return _HEADER.size + num_rows * self.num_parts * self.part_bytes


class StoredFile:
    """Reads one file, which is open as long as this object is entered.

    Args:
        digest: the document that the file is of by its name.

    Attributes:
        kept: the document, without pages, as the header describes it: not to be relied on before
            read has checked it.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
        BrokenFileError: header or length are wrong.
    """

    def __init__(self, path: Path, digest: bytes, rows: RowFormat) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        try:
            self._head = os.read(self._descriptor, _HEADER.size)
            self._size = os.fstat(self._descriptor).st_size
            self.kept, self._checksum = _parse(self._head, digest, rows)
            if self._size != rows.file_bytes(self.kept.num_rows):
                raise BrokenFileError
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def read(self, buffers: Sequence[memoryview]) -> None:
        """Fill these buffers, which hold the document's rows together, and check them; once.

        Raises:
            OSError: the file cannot be read.
            BrokenFileError: its content is not what was written.
        """
        for first in range(0, len(buffers), _MAX_BUFFERS):
            group = list(buffers[first : first + _MAX_BUFFERS])
            while group:
                if not (num_read := os.readv(self._descriptor, group)):
                    raise BrokenFileError
                group = _rest(group, num_read)
        if _checksum(self.kept.digest, self._head, buffers) != self._checksum:
            raise BrokenFileError


def write_file(descriptor: int, kept: Kept, rows: RowFormat, buffers: Sequence[memoryview]) -> None:
    """Write header and rows of a document.

    Raises:
        OSError: not all of it could be written.
    """
    head = _head(kept, rows, 0)
    head = _head(kept, rows, _checksum(kept.digest, head, buffers))
    parts = [memoryview(head), *buffers]
    for first in range(0, len(parts), _MAX_BUFFERS):
        group = parts[first : first + _MAX_BUFFERS]
        while group:
            group = _rest(group, os.writev(descriptor, group))


def _head(kept: Kept, rows: RowFormat, checksum: int) -> bytes:
    shape = rows.num_parts, rows.num_kv_heads, rows.head_dim
    spans = kept.num_tokens, kept.num_rows, *kept.scored
    name = rows.dtype.encode()
    return _HEADER.pack(MAGIC, VERSION, kept.is_cut, name, *shape, *spans, checksum)


def _parse(head: bytes, digest: bytes, rows: RowFormat) -> tuple[Kept, int]:
    """Return what a header says, and its checksum."""
    if len(head) != _HEADER.size:
        raise BrokenFileError
    *_, is_cut, _, _, _, _, num_tokens, num_rows, first, last, checksum = _HEADER.unpack(head)
    kept = Kept(digest, num_tokens, num_rows, (first, last), bool(is_cut))
    if head != _head(kept, rows, checksum):
        raise BrokenFileError  # of another kind, format or model
    return kept, checksum


def _checksum(digest: bytes, head: bytes, buffers: Sequence[memoryview]) -> int:
    """Return the checksum over all but itself, the last number of the header."""
    *fields, _ = _HEADER.unpack(head)
    found = zlib.crc32(_HEADER.pack(*fields, 0), zlib.crc32(digest))
    for each in buffers:
        found = zlib.crc32(each, found)
    return found


def _rest(buffers: list[memoryview], num_bytes: int) -> list[memoryview]:
    """Return what is left of buffers of which so many bytes are done."""
    for i, each in enumerate(buffers):
        if num_bytes < len(each):
            return [each[num_bytes:], *buffers[i + 1 :]]
        num_bytes -= len(each)
    return []
