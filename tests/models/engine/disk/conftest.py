"""Rankers that keep documents in a folder, and what is found there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.ranker import Ranker

Open = Callable[..., Ranker]


@dataclass(frozen=True)
class Disk:
    """The folder of a store."""

    folder: Path

    def files(self) -> list[Path]:
        """List the documents' files."""
        return [path for path in sorted(self.folder.glob("*/*/*")) if len(path.name) == 64]

    def failures(self, ranker: Any) -> dict[str, int]:
        """Count what went wrong, by kind."""
        found = ranker.documents.store_stats().failures
        return {kind: number for kind, number in found.items() if number}


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "store")


@pytest.fixture
def plain(open_tiny: Open, reusable_card: dict[str, Any]) -> Open:
    """Open a ranker that keeps nothing."""
    return lambda **card: open_tiny("blockrank", reusable_card | card, dtype="float32")


@pytest.fixture
def keeping(
    open_tiny: Open, reusable_card: dict[str, Any], disk: Disk, poisoned: Any
) -> Iterator[Open]:
    """Open a ranker that keeps documents, in the folder too."""
    opened: list[Ranker] = []

    def open_(
        num_bytes: int = 5_000_000,
        store_bytes: int = 10**8,
        checkpoint: Path | str = "blockrank",
        **card: Any,
    ) -> Ranker:
        ranker = open_tiny(
            checkpoint,
            reusable_card | card,
            dtype="float32",
            document_cache_bytes=num_bytes,
            document_store=disk.folder,
            document_store_bytes=store_bytes,
        )
        opened.append(poisoned(ranker))
        return ranker

    yield open_
    for ranker in opened:
        assert ranker.documents is not None
        assert ranker.documents.close(10)
