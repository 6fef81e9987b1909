"""The command precompute, on a tiny model."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.ranker import Ranker
from blockrank_server.service.cli.main import main

TEXTS = ["a river", {"title": "money", "text": "the bank"}, "a stone " * 20, *map(str, range(20))]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(map(json.dumps, TEXTS)))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def precompute(
    fixtures: Path, keeping_card: Path, store: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command; return its exit code and what it printed."""

    def run(*arguments: str | Path, **flags: str | Path) -> tuple[int, str, str]:
        usual: dict[str, str | Path] = {"model": fixtures / "blockrank", "card": keeping_card}
        usual |= {"device": "cpu", "document-store": store}
        given = [str(x) for name, value in (usual | flags).items() for x in (f"--{name}", value)]
        code = main(["precompute", *map(str, arguments), *given])
        return code, *capfd.readouterr()

    return run


def test_what_was_computed_is_known_to_others(
    precompute: Callable[..., tuple[int, str, str]],
    corpus: Path,
    fixtures: Path,
    keeping_card: Path,
    store: Path,
) -> None:
    code, out, error = precompute(corpus)
    assert (code, error) == (0, "")
    assert out.startswith("23 documents: 0 known before, 23 computed (1 of them cut) in ")
    assert "documents/s" in out
    assert "tokens/s" in out
    ranker = Ranker.open(
        fixtures / "blockrank",
        card=keeping_card,
        device="cpu",
        document_cache_bytes=2_000_000,
        document_store=store,
    )
    assert ranker.documents is not None
    documents: list[Any] = TEXTS[:8]
    assert ranker.documents.are_stored(documents) == [True] * 8
    assert ranker.encode("money", documents).num_known_documents == 8
    assert ranker.documents.close(10)


def test_it_goes_on_where_it_stopped(
    precompute: Callable[..., tuple[int, str, str]], corpus: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part.txt"
    part.write_text("0\n1\n\n2\n")
    assert "3 documents: 0 known before, 3 computed" in precompute(part)[1]
    assert "23 documents: 3 known before, 20 computed" in precompute(corpus)[1]
    assert "23 documents: 23 known before, 0 computed" in precompute(corpus)[1]
    others = precompute(corpus, **{"max-tokens-per-doc": "5"})[1]
    assert "23 documents: 0 known before, 23 computed" in others


def test_it_goes_on_after_an_interrupt(
    precompute: Callable[..., tuple[int, str, str]], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score, num_left = Ranker.score, 2

    def interrupted(ranker: Ranker, batch: Any) -> Any:
        nonlocal num_left
        num_left -= 1
        if num_left < 0:
            raise KeyboardInterrupt
        return score(ranker, batch)

    monkeypatch.setattr(Ranker, "score", interrupted)
    assert precompute(corpus)[0] == 130
    monkeypatch.undo()
    assert "23 documents: 16 known before, 7 computed" in precompute(corpus)[1]


def test_a_store_that_holds_less_than_the_file_says_so(
    precompute: Callable[..., tuple[int, str, str]], corpus: Path
) -> None:
    code, out, _ = precompute(corpus, **{"document-store-bytes": "50000"})
    assert code == 0
    assert "gave way: it may hold 50000 bytes" in out


def test_a_disk_that_is_full_ends_it(
    precompute: Callable[..., tuple[int, str, str]], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", refuse)
    code, out, error = precompute(corpus)
    assert (code, out) == (1, "")
    assert "error: 9 documents could not be written to the document store" in error


def test_wrong_usage_is_told_in_one_line(
    precompute: Callable[..., tuple[int, str, str]],
    corpus: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["precompute", str(corpus)]) == 2
    told = "error: --document-store is missing: the folder that takes the documents\n"
    assert capfd.readouterr().err == told
    code, _, error = precompute(corpus, **{"document-store": tmp_path})
    assert code == 2
    assert f"error: document_store is {tmp_path}, which holds other things (2) and no" in error
    code, _, error = precompute(tmp_path / "none.txt")
    assert (code, error.startswith(f"error: cannot read {tmp_path}/none.txt")) == (2, True)
    code, _, error = precompute(corpus, **{"document-store-bytes": "10"})
    assert (code, error.count("\n")) == (1, 1)
    assert "document_store_bytes is 10, at least" in error
