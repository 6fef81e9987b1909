"""Every file that a command reads, broken in every way: a line with file and line, and 2.

The model could not be opened: its config is empty. What is told is told before that is found out.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.service.cli.main import main

MARK = b"\xef\xbb\xbf"
ROW = {"query_id": "q1", "query": "q", "documents": ["a", "b"], "answer_ids": [0]}
LISTS = json.dumps(ROW) + "\n" + json.dumps(ROW | {"query_id": "q2"}) + "\n"
QRELS, RUN = "q1\t0\t1\nq2\t0\t1\n", "q1 Q0 0 1 1.0 x\nq2 Q0 0 1 1.0 x\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"

CONFIG = "output: run\nsteps: 1\nmodel: model\ndata: {sources: [{path: lists.jsonl}]}\n"
MODEL = ["--model", "model", "--card", "card.json", "--device", "cpu"]
# The file that is broken, what it holds, and a command that reads it.
READERS: dict[str, tuple[str, str, list[str]]] = {
    "rerank, lines": ("d.txt", "one\ntwo\n", ["rerank", "--query", "q", "d.txt", *MODEL]),
    "rerank, JSON": ("d.jsonl", '"one"\n"two"\n', ["rerank", "--query", "q", "d.jsonl", *MODEL]),
    "evaluate": ("lists.jsonl", LISTS, ["evaluate", "lists.jsonl", *MODEL]),
    "evaluate, qrels": ("lists.qrels.tsv", QRELS, ["evaluate", "lists.jsonl", *MODEL]),
    "evaluate, run": ("a.run", RUN, ["evaluate", "lists.jsonl", "--run", "a.run"]),
    "select-heads": ("lists.jsonl", LISTS, ["select-heads", "lists.jsonl", "--out", "c", *MODEL]),
    "calibrate": ("lists.jsonl", LISTS, ["calibrate", "lists.jsonl", "--out", "c", *MODEL]),
    "group-lists": ("lists.jsonl", LISTS, ["group-lists", "lists.jsonl", "--out", "g"]),
    "train, config": ("run.yaml", CONFIG, ["train", "run.yaml"]),
}
JSON_READERS = ("rerank, JSON", "evaluate", "select-heads", "calibrate", "group-lists")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fixtures: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lists.jsonl").write_text(LISTS)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    card = Path(__file__).parents[3] / "models/cards/default.json"
    (tmp_path / "card.json").write_bytes(card.read_bytes())
    return tmp_path


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    code = main(arguments)
    said = capsys.readouterr().err
    assert code == 2, said
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    return said


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("broken", "reason"),
    [(b"\xff", "not UTF-8"), (b"\0", "holds a NUL byte"), (b"\xed\xa0\x80", "not UTF-8")],
)
@pytest.mark.parametrize("reader", READERS)
def test_bytes_that_are_no_text_are_told_by_file_and_line(
    reader: str, broken: bytes, reason: str, packed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    name, text, arguments = READERS[reader]
    first, second, *_ = text.encode().splitlines(keepends=True)
    raw = first + second[:3] + broken + second[3:]
    if packed and not name.endswith((".yaml", ".tsv", ".run")):
        arguments = [each.replace(name, f"{name}.gz") for each in arguments]
        name, raw = f"{name}.gz", gzip.compress(raw)
    Path(name).write_bytes(raw)
    assert f"{name}:2: {reason}" in told(arguments, capsys)


@pytest.mark.parametrize("reader", JSON_READERS)
def test_a_lone_surrogate_is_told_by_field(reader: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, text, arguments = READERS[reader]
    first, *_ = text.splitlines(keepends=True)
    if reader.startswith("rerank"):
        second, field = r'{"text": "a", "title": "\udc00"}', "title"
    else:
        second, field = json.dumps(ROW | {"documents": ["a", {"text": "\ud800"}]}), "documents[1]"
    Path(name).write_text(first + second + "\n")
    said = told(arguments, capsys)
    assert f"{name}:2: {field}" in said
    assert "holds a lone surrogate" in said


@pytest.mark.parametrize(
    "text", ['name: "\\ud800"', 'name: "a\\0b"', 'data: {root: "\\0"}', '"\\ud800": 1']
)
def test_a_config_with_broken_text_is_told_by_file_and_line(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run.yaml").write_text(f"output: run\nsteps: 1\n{text}\n")
    said = told(["train", "run.yaml"], capsys)
    assert said.startswith("error: run.yaml:")
    assert "holds a" in said


@pytest.mark.parametrize("text", ["a: " + "[" * 50_000, "a: 2001-13-45", "? {a: 1}\n: 2", "\x01"])
def test_a_config_that_is_no_yaml_is_a_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.yaml").write_text(text)
    assert "run.yaml" in told(["train", "run.yaml"], capsys)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"name": "\\ud800"}', "card c.json: name holds a lone surrogate"),
        ('{"adapter": "a\\u0000b"}', "card c.json: adapter holds a NUL character"),
        ("[" * 50_000, "card c.json: "),
    ],
)
def test_a_card_with_broken_text_is_told_by_field(
    text: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("c.json").write_text(text)
    assert reason in told(["info", "--card", "c.json"], capsys)


@pytest.mark.parametrize(
    ("stand_in", "reason"),
    [
        (POINTER, "is a Git LFS pointer, not the file itself: run git lfs pull"),
        (b"<!doctype html>\n<title>Sign in</title>", "is an HTML page"),
    ],
)
@pytest.mark.parametrize("reader", READERS)
def test_another_file_than_was_meant_is_named(
    reader: str, stand_in: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, _, arguments = READERS[reader]
    for ending in ("", ".gz") if name.endswith((".txt", ".jsonl")) else ("",):
        Path(name + ending).write_bytes(stand_in)
        changed = [each.replace(name, name + ending) for each in arguments]
        assert f"{name}{ending} {reason}" in told(changed, capsys)


@pytest.mark.parametrize("reader", READERS)
def test_a_byte_order_mark_changes_nothing(reader: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What each command says in the end is the same: of the model, or of the lists."""
    name, text, arguments = READERS[reader]
    ends = []
    for raw in (text.encode(), MARK + text.encode()):
        Path(name).write_bytes(raw)
        ends.append((main(arguments), capsys.readouterr()))
    assert ends[0] == ends[1]
    assert "BOM" not in ends[0][1].err


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ROW | {"query_id": "a\tb"}, "query_id holds a control character"),
        (ROW | {"documents": [{"doc_id": "a\n", "text": "x"}]}, "documents[0].doc_id holds a cont"),
        (ROW | {"teacher_scores": [10**400, 1]}, "teacher_scores[0] is no finite number"),
    ],
)
def test_a_value_that_no_later_file_could_hold(
    row: dict[str, Any], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("lists.jsonl").write_text(json.dumps(row) + "\n")
    assert f"lists.jsonl:1: {reason}" in told(["group-lists", "lists.jsonl", "--out", "g"], capsys)


@pytest.mark.parametrize("number", ["9" * 30, "9" * 400, "9" * 5000, "nan"])
def test_a_judgement_beyond_measure(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("lists.qrels.tsv").write_text(f"q1\t0\t1\nq1\t1\t{number}\n")
    assert "lists.qrels.tsv:2: no number" in told(READERS["evaluate, qrels"][2], capsys)


def test_a_query_that_is_not_utf_8(capsys: pytest.CaptureFixture[str]) -> None:
    said = told(["rerank", "--query", "a\udcff", "d.txt", *MODEL], capsys)
    assert said == "error: --query is not UTF-8\n"
    assert "--revision: not UTF-8" in told(["info", "--revision", "a\udcff"], capsys)


def test_two_sets_of_one_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    said = told(["group-lists", "a/lists.jsonl", "b/lists.jsonl.gz", "--out", "g"], capsys)
    assert said == "error: two sets of DATA would be written as lists\n"
