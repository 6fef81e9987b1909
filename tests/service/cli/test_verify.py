"""The command verify, on a tiny checkpoint and on the embedded default."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.checkpoint.card import BUILT_IN
from blockrank_server.models.checkpoint.stored_scores import (
    read_scores,
    scores_file,
    write_scores,
)
from blockrank_server.models.ranker import Ranker
from blockrank_server.service.cli.main import main

LISTS = [
    {"query": "river", "documents": ["bank", {"title": "a", "text": "stone"}, "tree " * 60]},
    {"query": "one", "documents": ["money"]},
]
HOW = ["--device", "cpu", "--dtype", "float32"]


@pytest.fixture(scope="module")
def stored(make_yes_no: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose card carries the scores of LISTS."""
    folder, lists = make_yes_no(), tmp_path_factory.mktemp("lists") / "lists.jsonl"
    lists.write_text("".join(json.dumps(each) + "\n" for each in LISTS))
    assert main(["verify", "--model", str(folder), *HOW, "--store", str(lists)]) == 0
    return folder


@pytest.fixture
def folder(stored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stored, tmp_path / "copy"))


def verify(folder: Path, *more: str) -> int:
    return main(["verify", "--model", str(folder), *HOW, *more])


def scores_of(folder: Path) -> Path:
    return scores_file(folder / "rerank_card.json")


def change_scores(folder: Path, change: Callable[[float], float]) -> None:
    found, lists = read_scores(scores_of(folder))
    more = [each.model_copy(update={"scores": tuple(map(change, each.scores))}) for each in lists]
    write_scores(scores_of(folder), found.checkpoint, found.tolerance, more)


def test_the_same_machine_reproduces(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(folder) == 0
    out = capsys.readouterr().out
    assert out.startswith("reproduced: Qwen/Qwen3-Reranker-0.6B on cpu, float32, quantization none")
    assert "2 lists, 4 documents: largest difference 0, tolerance 0.0001; 0 of 3 pairs in" in out


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (lambda score: score + 9e-5, 0, "largest difference 9e-05, tolerance 0.0001; 0 of 3"),
        (lambda score: score + 2e-4, 1, "largest difference 0.0002, tolerance 0.0001; 0 of 3"),
        (lambda score: 1 - score, 1, "tolerance 0.0001; 3 of 3 pairs in another order"),
    ],
)
def test_differences_are_held_against_the_tolerance(
    change: Callable[[float], float],
    code: int,
    told: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change_scores(folder, change)
    assert verify(folder) == code
    out = capsys.readouterr().out
    assert out.startswith("reproduced" if code == 0 else "NOT reproduced")
    assert told in out


def test_no_number_is_no_reproduction(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = Ranker.score
    monkeypatch.setattr(
        Ranker, "score", lambda *given: [[math.nan] * len(row) for row in score(*given)]
    )
    assert verify(folder) == 1


def test_only_scores_in_float32_are_stored(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists, before = tmp_path / "lists.jsonl", scores_of(folder).read_bytes()
    lists.write_text(json.dumps(LISTS[1]))
    assert verify(folder, "--dtype", "bfloat16", "--store", str(lists)) == 2
    assert "of --dtype float32" in capsys.readouterr().err
    assert scores_of(folder).read_bytes() == before


def drop_last_line(path: Path) -> None:
    path.write_text(path.read_text().rsplit("\n", 2)[0] + "\n")


def spoil(path: Path) -> None:
    path.write_text(path.read_text().replace('"scores":[', '"scores":[1,', 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_last_line, "was changed: its lines have another sha256"),
        (spoil, "there is not one score for each document"),
        (Path.unlink, "the card's stored scores: No such file"),
        (lambda path: path.write_text("{}"), "holds no scores: checkpoint: Field required"),
    ],
)
def test_a_broken_file_is_no_verdict(
    change: Callable[[Path], Any], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(scores_of(folder))
    assert verify(folder) == 2
    assert message in capsys.readouterr().err


def test_scores_of_other_weights_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder / "config.json"
    config.write_text(config.read_text() + "\n")
    assert verify(folder) == 2
    assert "of other weights or of another adapter" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["", "{}", "[]", '{"query": "a"}', '{"query": 1, "documents": []}']
)
def test_what_is_no_list_is_not_stored(
    line: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = scores_of(folder).read_bytes()
    (tmp_path / "lists.jsonl").write_text(line)
    assert verify(folder, "--store", str(tmp_path / "lists.jsonl")) == 2
    assert "lists.jsonl" in capsys.readouterr().err
    assert scores_of(folder).read_bytes() == before


def test_the_default_is_reproduced() -> None:
    assert scores_file(BUILT_IN / "default.json").is_file()
    assert main(["verify", *HOW]) == 0
