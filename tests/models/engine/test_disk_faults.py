"""What cannot be written to disk is counted, and nobody sees anything of it."""

import errno
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockrank_server.models.known_documents import KnownDocuments
from blockrank_server.models.ranker import Ranker

Open = Callable[..., Ranker]


pytestmark = pytest.mark.usefixtures("one_thread")


def known(ranker: Ranker) -> KnownDocuments:
    assert ranker.documents is not None
    return ranker.documents


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*/*/*")) if len(path.name) == 64]


def failures(ranker: Ranker) -> dict[str, int]:
    found = known(ranker).store_stats().failures
    return {kind: number for kind, number in found.items() if number}


def assert_equal(found: Sequence[float], expected: Sequence[float]) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def _refuse(number: int) -> Callable[..., int]:
    def refuse(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(
    ("call", "number"), [("writev", errno.ENOSPC), ("rename", errno.EROFS), ("writev", errno.EIO)]
)
def test_what_cannot_be_written_is_counted_and_answered(
    call: str,
    number: int,
    keeping: Open,
    plain: Open,
    texts: Any,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ranker, pool = keeping(), texts(1).pool[:5]
    monkeypatch.setattr(os, call, _refuse(number))
    assert_equal(ranker.rank("river", pool), plain().rank("river", pool))
    known(ranker).flush()
    assert failures(ranker) == {"write": 6}
    assert [r.message.endswith(os.strerror(number)) for r in caplog.records] == [True]
    assert files(folder) == []
    monkeypatch.undo()
    ranker.rank("river", ["money", *pool])
    known(ranker).flush()
    assert len(files(folder)) == 1


def test_a_folder_that_turns_into_a_file_is_survived(
    keeping: Open, plain: Open, texts: Any, folder: Path
) -> None:
    ranker, lists, right = keeping(300_000), texts(1), plain()
    ranker.rank("city", lists.pool[:5])
    known(ranker).flush()
    folder.rename(folder.with_name("gone"))
    folder.write_text("a file")
    for _ in range(8):
        query, asked = lists.request()
        assert_equal(ranker.rank(query, asked), right.rank(query, asked))
    known(ranker).flush()
    assert failures(ranker)["write"] > 0


def test_what_does_not_fit_the_queue_is_dropped_and_counted(
    keeping: Open, texts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranker = keeping(300_000)
    opened, writev = threading.Event(), os.writev

    def slow(descriptor: int, parts: Any) -> int:
        assert opened.wait(60)
        return writev(descriptor, parts)

    monkeypatch.setattr(os, "writev", slow)
    for i in range(4):
        ranker.rank("river", [f"{i} {text}" for text in texts(1).pool[:5]])
    opened.set()
    known(ranker).flush()
    stats = known(ranker).store_stats()
    assert stats.dropped > 0
    assert stats.writes > 0
    assert failures(ranker) == {}
