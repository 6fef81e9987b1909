"""What cannot be written to disk is counted, and nobody sees anything of it."""

import errno
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

Open = Callable[..., Any]


pytestmark = pytest.mark.usefixtures("one_thread")


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
    disk: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ranker, pool = keeping(), texts(1).pool[:5]
    monkeypatch.setattr(os, call, _refuse(number))
    assert_equal(ranker.rank("river", pool), plain().rank("river", pool))
    ranker.documents.flush()
    assert disk.failures(ranker) == {"write": 6}
    assert [r.message.endswith(os.strerror(number)) for r in caplog.records] == [True]
    assert disk.files() == []
    monkeypatch.undo()
    ranker.rank("river", ["money", *pool])
    ranker.documents.flush()
    assert len(disk.files()) == 1


def test_a_folder_that_turns_into_a_file_is_survived(
    keeping: Open, plain: Open, texts: Any, disk: Any
) -> None:
    ranker, lists, right = keeping(300_000), texts(1), plain()
    ranker.rank("city", lists.pool[:5])
    ranker.documents.flush()
    disk.folder.rename(disk.folder.with_name("gone"))
    disk.folder.write_text("a file")
    for _ in range(8):
        query, asked = lists.request()
        assert_equal(ranker.rank(query, asked), right.rank(query, asked))
    ranker.documents.flush()
    assert disk.failures(ranker)["write"] > 0


def test_what_does_not_fit_the_queue_is_dropped_and_counted(
    keeping: Open, texts: Any, disk: Any, monkeypatch: pytest.MonkeyPatch
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
    ranker.documents.flush()
    stats = ranker.documents.store_stats()
    assert stats.dropped > 0
    assert stats.writes > 0
    assert disk.failures(ranker) == {}
