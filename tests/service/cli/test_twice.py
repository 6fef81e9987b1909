"""The same command twice: nothing changes, and nothing is lost."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.checkpoint.card import BUILT_IN
from blockrank_server.service.cli.main import main

TOPICS = ("river", "bank", "money", "music", "garden", "engine")


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    rows = [
        {
            "query_id": topic,
            "query": f"what is {topic}?",
            "documents": [{"doc_id": t, "text": f"All about {t}."} for t in TOPICS],
            "answer_ids": [topic],
        }
        for topic in TOPICS
    ]
    path = tmp_path / "toy.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def model(fixtures: Path, tmp_path: Path) -> list[str]:
    fields = json.loads((BUILT_IN / "quicktensor--blockrank-msmarco-mistral-7b.json").read_text())
    path = tmp_path / "card.json"
    path.write_text(json.dumps(fields | {"read": [{"layer": 4, "heads": "all"}]}))
    return ["--model", str(fixtures / "blockrank"), "--card", str(path), "--device", "cpu"]


def contents(folder: Path) -> Mapping[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def twice(arguments: list[Any], out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run it twice, and give what the second time said."""
    assert main(list(map(str, arguments))) == 0
    before = contents(out)
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 0
    assert contents(out) == before
    return capsys.readouterr().err


def test_select_heads(
    tmp_path: Path, lists: Path, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["select-heads", lists, *model, "--lists", 4, "--out", out / "chosen.json"]
    assert f"note: {out / 'chosen.json'} is this card already" in twice(command, out, capsys)


def test_evaluate(
    tmp_path: Path, lists: Path, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    twice(["evaluate", lists, *model, "--out", out], out, capsys)


def test_group_lists(tmp_path: Path, lists: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    twice(["group-lists", lists, "--lists", 2, "--held-out", 2, "--out", out], out, capsys)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "\\ud800"}', "\xef\xbb\xbf{"])
def test_an_evaluation_that_was_stopped_early(
    content: str,
    tmp_path: Path,
    lists: Path,
    model: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    made_by = tmp_path / "out/runs/made_by.json"
    made_by.parent.mkdir(parents=True)
    made_by.write_text(content)
    assert main(["evaluate", str(lists), *model, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert str(made_by) in said
    assert said.endswith("name another folder\n")
