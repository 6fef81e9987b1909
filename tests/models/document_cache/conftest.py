"""Documents of random bytes, and the files that a store keeps of them."""

from pathlib import Path

import numpy as np
import pytest

from blockrank_server.models.document_cache.document_store import DocumentStore
from blockrank_server.models.document_cache.kept import Kept
from blockrank_server.models.document_cache.stored_file import RowFormat

ROWS = RowFormat("bfloat16", num_parts=3, num_kv_heads=2, head_dim=4, part_bytes=16)


class Files:
    """Works on the store in a folder. Each document has 5 rows, unless a test says otherwise."""

    rows = ROWS
    size = ROWS.file_bytes(5)
    header_bytes = 64

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, max_bytes: int = 10**6, rows: RowFormat = ROWS) -> DocumentStore:
        return DocumentStore.open(self.folder, max_bytes, rows, (7, 5))

    def kept(self, name: int, num_rows: int = 5) -> Kept:
        return Kept(name.to_bytes(32, "big"), num_rows + 2, num_rows, (1, num_rows), False)

    def content(self, name: int, num_rows: int = 5) -> bytes:
        return np.random.default_rng(name).bytes(num_rows * ROWS.num_parts * ROWS.part_bytes)

    def path(self, name: int) -> Path:
        digest = name.to_bytes(32, "big").hex()
        return self.folder / digest[:2] / digest[2:4] / digest

    def write(self, store: DocumentStore, name: int, num_rows: int = 5) -> Kept:
        kept, content = self.kept(name, num_rows), self.content(name, num_rows)
        store.write(kept, [memoryview(content[:7]), memoryview(content[7:])])
        return kept

    def read(self, store: DocumentStore, name: int) -> bytes | None:
        if (file := store.open_file(name.to_bytes(32, "big"))) is None:
            return None
        with file:
            found = bytearray(file.kept.num_rows * ROWS.num_parts * ROWS.part_bytes)
            view = memoryview(found)
            return bytes(found) if store.read(file, [view[:30], view[30:]]) else None

    def failures(self, store: DocumentStore) -> dict[str, int]:
        return {kind: number for kind, number in store.stats().failures.items() if number}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "parent" / "store")


@pytest.fixture
def store(files: Files) -> DocumentStore:
    return files.open()
