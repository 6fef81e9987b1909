"""Documents kept on disk change no score, whatever happens to the files and to the process."""

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from blockrank_server.models.engine.page_pool import PagePool
from blockrank_server.models.errors import CheckpointError

Open = Callable[..., Any]


pytestmark = pytest.mark.usefixtures("one_thread")


def assert_equal(found: Sequence[float], expected: Sequence[float]) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def test_after_a_restart_everything_is_known(keeping: Open, texts: Any) -> None:
    pool = texts(1).pool[:9]
    first = keeping()
    expected = first.rank("river", pool)
    first.documents.flush()
    again = keeping()
    request = again.encode("river", pool)
    assert request.num_known_documents == 9
    assert request.num_computed_tokens == request.num_tokens - request.tail_start
    level = first.start([first.encode("river", pool)]).levels()
    pending = again.start([request])
    assert_equal(pending.result()[0], expected)
    assert_equal(pending.levels(), level)
    stats = again.documents.store_stats()
    assert (stats.hits, stats.misses, stats.num_entries) == (9, 0, 10)  # and the prefix
    assert stats.read_seconds > 0
    assert again.encode("river", pool).num_known_documents == 9
    assert again.documents.store_stats().hits == 9  # now they are in memory


def damage(files: list[Path], rng: np.random.Generator) -> None:
    """Flip a bit of one file, and cut another one short."""
    flipped, cut = rng.choice(np.array(files, object), 2, replace=False)
    raw = bytearray(flipped.read_bytes())
    raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
    flipped.write_bytes(raw)
    os.truncate(cut, rng.integers(cut.stat().st_size))


@pytest.mark.parametrize("stride", [1, 4])
def test_any_mix_of_memory_disk_and_neither_scores_the_same(
    stride: int, keeping: Open, plain: Open, texts: Any, disk: Any
) -> None:
    """With restarts, evictions from memory and from disk, and damaged files."""
    rng, lists, right = np.random.default_rng(stride), texts(stride), plain(tail_stride=stride)
    memory, bound = (300_000, 450_000) if stride == 1 else (100_000, 130_000)
    ranker = keeping(memory, bound, tail_stride=stride)
    hits = swept = evicted = broken = 0
    for _ in range(40):
        for query, asked in lists.batch():
            assert_equal(ranker.rank(query, asked), right.rank(query, asked))
        ranker.documents.flush()
        if rng.random() < 0.3:
            damage(disk.files(), rng)
        if rng.random() < 0.2:
            stats = ranker.documents.store_stats()
            hits, broken = hits + stats.hits, broken + stats.failures["broken"]
            swept += stats.evictions
            evicted += ranker.documents.stats().evictions
            assert set(disk.failures(ranker)) <= {"broken"}
            assert stats.used_bytes <= bound
            ranker.documents.close(10)
            ranker = keeping(memory, bound, tail_stride=stride)
    assert min(hits, broken, swept, evicted) > 0, (hits, broken, swept, evicted)


def test_requests_that_miss_the_same_document_read_it_once(
    keeping: Open, texts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, pool = keeping(), texts(1).pool[:6]
    first.rank("river", pool)
    first.documents.flush()
    again, readv = keeping(), os.readv
    num_read, both = 0, threading.Barrier(2)

    def read(descriptor: int, buffers: Any) -> int:
        nonlocal num_read
        num_read += 1
        return readv(descriptor, buffers)

    monkeypatch.setattr(os, "readv", read)
    requests = []

    def encode() -> None:
        both.wait()
        requests.append(again.encode("river", pool))

    threads = [threading.Thread(target=encode) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [request.num_known_documents for request in requests] == [6, 6]
    assert num_read == 7
    assert again.documents.stats().num_entries == 7


def test_rows_of_a_device_are_copied_through_the_host(
    keeping: Open, texts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here from host memory to host memory; test_disk_tier_on_gpu.py has a device."""
    pool = texts(1).pool[:9]
    in_place = keeping()
    expected = in_place.rank("river", pool)
    in_place.documents.flush()
    monkeypatch.setattr(PagePool, "is_in_place", property(lambda _: False))
    copying = keeping()
    request = copying.encode("river", pool)
    assert request.num_known_documents == 9
    assert_equal(copying.score([request])[0], expected)
    copying.rank("river", [f"new {text}" for text in pool])
    copying.documents.flush()
    monkeypatch.undo()
    again = keeping()
    found = again.encode("river", [f"new {text}" for text in pool])
    assert found.num_known_documents == 9
    assert_equal(again.score([found])[0], in_place.rank("river", [f"new {text}" for text in pool]))


def test_a_document_cut_before_is_not_read_where_nothing_may_be_cut(keeping: Open) -> None:
    first = keeping()
    first.rank("city", ["river bank " * 60, "money"])
    first.documents.flush()
    again = keeping()
    with pytest.raises(ValueError, match=r"documents\[0\] has at least"):
        again.encode("city", ["river bank " * 60, "money"], truncate=False)
    assert again.documents.store_stats().hits == 1
    assert again.encode("city", ["river bank " * 60]).truncated_documents == (0,)


def test_a_memory_too_small_for_the_list_computes_the_rest(
    keeping: Open, plain: Open, texts: Any
) -> None:
    pool = [f"{i} {text}" for i, text in enumerate(texts(3).pool)]
    first = keeping()
    first.rank("tree", pool)
    first.documents.flush()
    again = keeping(300_000)
    request = again.encode("rain", pool)
    assert 0 < request.num_known_documents < len(pool)
    assert_equal(again.score([request])[0], plain().rank("rain", pool))


def test_forgotten_documents_are_nowhere(keeping: Open, plain: Open, texts: Any) -> None:
    ranker, pool = keeping(), texts(1).pool[:6]
    ranker.rank("river", pool)
    ranker.documents.flush()
    waiting = ranker.encode("rain", pool)
    used = ranker.documents.stats().used_bytes
    assert ranker.documents.forget([*pool[:3], "never seen"]) == 3
    assert ranker.documents.forget(pool[:3], salt="s") == 0
    assert ranker.documents.are_known(pool) == [False] * 3 + [True] * 3
    assert ranker.documents.stats().used_bytes == used  # a request still waits for them
    assert_equal(ranker.score([waiting])[0], plain().rank("rain", pool))
    del waiting
    assert ranker.documents.forget(pool[:3]) == 0
    assert ranker.documents.stats().used_bytes < used
    assert keeping().encode("rain", pool).num_known_documents == 3


def test_what_is_made_up_for_the_warm_up_is_not_kept(keeping: Open, disk: Any) -> None:
    ranker = keeping()
    ranker.warm_up()
    ranker.documents.flush()
    assert disk.files() == []
    assert ranker.documents.stats().num_entries == 0
    ranker.rank("river", ["money"])
    ranker.documents.flush()
    assert len(disk.files()) == 2


def test_a_store_needs_a_memory_in_front_of_it(keeping: Open) -> None:
    with pytest.raises(CheckpointError, match=r"document_store is .*document_cache_bytes is 0"):
        keeping(0)


def test_a_bound_that_holds_no_document_is_refused(keeping: Open) -> None:
    with pytest.raises(CheckpointError, match=r"document_store_bytes is 1000, at least \d+ are"):
        keeping(store_bytes=1000)


def test_another_checkpoint_of_the_same_shape_finds_nothing(
    keeping: Open, fixtures: Path, tmp_path: Path
) -> None:
    """Both are local folders, which have no revision."""
    other = tmp_path / "other"
    shutil.copytree(fixtures / "blockrank", other)
    (weights,) = other.glob("*.safetensors")
    tensors = load_file(weights)
    tensors["model.embed_tokens.weight"][7, 3] += 1
    save_file(tensors, weights)
    first = keeping()
    first.rank("river", ["money"])
    first.documents.flush()
    for checkpoint, is_known in ((fixtures / "blockrank", True), (other, False)):
        ranker = keeping(checkpoint=checkpoint)
        assert ranker.documents.are_known(["money"]) == [is_known]
