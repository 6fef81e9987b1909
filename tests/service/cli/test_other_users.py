"""A user without rights and without a home.

Root's right to read and write everything is given up, but not its ownership: the files of the
repository may stand in a folder that nobody else may enter.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Libraries ask for the home when they are imported, so it is gone before that.
RUN = """
import contextlib, io, json, os, pwd, sys
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
del os.environ["HOME"]
from blockrank_server.service.cli.main import main
for arguments in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(arguments)
    print(json.dumps([code, said.getvalue()]))
"""
ROWS = [
    {"query": f"q{i}", "documents": [{"doc_id": "a", "text": "x"}, {"doc_id": "b", "text": "y"}]}
    | {"answer_ids": ["a"]}
    for i in range(4)
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that anybody may read, with one below it that nobody else may open or write to."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        (path / "lists.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        (path / "run.yaml").write_text(
            f"output: x\nsteps: 1\ndata: {{sources: [{{path: {path}/lists.jsonl}}]}}"
        )
        (path / "theirs").mkdir()
        (path / "theirs" / "lists.jsonl").touch()
        (path / "theirs").chmod(0o000)
        yield path
        (path / "theirs").chmod(0o755)


def outcomes(commands: list[list[Any]]) -> list[tuple[int, str]]:
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("BLOCKRANK_", "XDG_", "HF_"))
    }
    rights = "-dac_override,-dac_read_search"
    setpriv = ["setpriv", f"--inh-caps={rights}", f"--bounding-set={rights}"]
    python = [sys.executable, "-c", RUN, json.dumps([list(map(str, each)) for each in commands])]
    done = subprocess.run(
        [*setpriv, *python] if os.geteuid() == 0 else python,
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"HOME": "/", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]


def test_a_user_without_rights_or_home_is_told_so_in_a_line(folder: Path, fixtures: Path) -> None:
    lists, theirs = folder / "lists.jsonl", folder / "theirs"
    query, card_writers = ["--query", "q"], ("select-heads", "calibrate")
    no_home = "there is no home folder to keep the cache in: set HOME or XDG_CACHE_HOME"
    cases: dict[str, list[list[Any]]] = {
        no_home: [
            ["rerank", *query, lists],
            ["serve", "--port", "0"],
            ["info", "--load"],
            ["evaluate", lists, "--out", folder.parent / "out"],
            *([each, lists, "--out", folder.parent / "card.json"] for each in card_writers),
        ],
        "there is no home folder to keep the cache in: set HOME or HF_HOME": [
            ["rerank", *query, lists, "--model", "owner/name", "--card", "default"]
        ],
        f"{theirs} cannot be written to": [
            ["evaluate", lists, "--out", theirs / "below"],
            ["evaluate", lists, "--out", "/tmp", "--write-run", theirs / "below"],
            *([each, lists, "--out", theirs / "card.json"] for each in card_writers),
            ["group-lists", lists, "--out", theirs / "grouped"],
            ["train", folder / "run.yaml", "--set", f"output={theirs}/run"],
        ],
        "Permission denied": [
            ["rerank", *query, theirs / "lists.jsonl", "--cache-dir", folder],
            ["info", "--card", theirs / "card.json"],
            ["info", "--model", theirs / "model"],
            ["serve", "--api-keys-file", theirs / "keys", "--cache-dir", folder],
            ["evaluate", theirs, "--out", "/tmp", "--cache-dir", folder],
            ["evaluate", theirs / "lists.jsonl", "--out", "/tmp", "--cache-dir", folder],
            ["group-lists", theirs / "lists.jsonl", "--out", "/tmp"],
            ["train", theirs / "run.yaml"],
        ],
    }
    expected = [(reason, command) for reason, found in cases.items() for command in found]
    for (reason, command), (code, said) in zip(
        expected, outcomes([command for _, command in expected]), strict=True
    ):
        assert (code, said.count("\n")) == (2, 1), (command, said)
        assert said.startswith("error: "), command
        assert reason in said, (command, said)


def test_without_a_home_what_needs_no_cache_works() -> None:
    assert [code for code, _ in outcomes([["info"]])] == [0]
