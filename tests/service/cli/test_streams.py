"""Standard streams that are closed, full or no stream at all, on real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("blockrank-server")
COMMANDS = {
    "serve": "serve --port 0",
    "rerank": "rerank --query q d.txt",
    "info": "info",
    "group-lists": "group-lists lists.jsonl --out out",
    "train": "train run.yaml",
    "evaluate": "evaluate lists.jsonl",
    "select-heads": "select-heads lists.jsonl --out card.json",
    "calibrate": "calibrate lists.jsonl --out card.json",
    "help": "--help",
    "help of a command": "rerank --help",
    "version": "--version",
}


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of shell in which $B is the command."""
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"B": str(COMMAND)} | environment,
    )


def assert_told(done: subprocess.CompletedProcess[str], code: int, reason: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"error: {reason}")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_output_is_told_before_any_work(command: str, tmp_path: Path) -> None:
    done = shell(f"$B {COMMANDS[command]} >&-", tmp_path)
    assert_told(done, 1, "standard output: closed")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["serve", "info", "help", "help of a command", "version"])
def test_a_full_output_is_told(command: str, unbuffered: str, tmp_path: Path) -> None:
    done = shell(f"$B {COMMANDS[command]} >/dev/full", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "standard output" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closing", ["2>&-", "2>/dev/full", "2>&- <&-"])
def test_an_error_that_nobody_hears_keeps_its_code(closing: str, tmp_path: Path) -> None:
    for arguments in ("rerank --query q missing", "rerank --qery", "info --card missing"):
        done = shell(f"$B {arguments} {closing}", tmp_path)
        assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [
        ("<&-", "standard input is closed"),
        ("0>written", "cannot read standard input: Bad file descriptor"),
        ("</dev/null", "standard input holds no documents"),
        ("<<< $'a\\n\\xffb'", "standard input:2: not UTF-8 at byte 0"),
        ("< <(printf 'a\\0')", "standard input:1: holds a NUL byte"),
    ],
)
def test_an_input_that_cannot_be_read(redirection: str, reason: str, tmp_path: Path) -> None:
    assert_told(shell(f"$B rerank --query q - {redirection}", tmp_path), 2, reason)


@pytest.mark.parametrize("command", [c for c in COMMANDS if "help" not in c and c != "version"])
def test_a_deleted_folder_is_told(command: str, tmp_path: Path) -> None:
    line = f"mkdir gone; cd gone; rmdir ../gone; $B {COMMANDS[command]}"
    assert_told(shell(line, tmp_path), 2, "the current folder was deleted")


@pytest.mark.parametrize("command", ["info", "group-lists --help", "rerank --query q missing"])
def test_an_interrupt_leaves_no_traceback(command: str, tmp_path: Path) -> None:
    ends = set()
    for place in range(8):
        with subprocess.Popen(
            [COMMAND, *command.split()],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            time.sleep(0.15 + 0.045 * place)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        assert "Traceback" not in said
        ends.add(process.returncode)
    # The interpreter gives the signal back to the system in its last moments.
    assert ends <= {0, 2, 130, -signal.SIGINT}


def test_text_that_the_output_cannot_spell_is_escaped(tmp_path: Path) -> None:
    code = (
        "from blockrank_server.service.cli.main import exit_code\n"
        "exit_code(lambda: print('Zo\\u00eb \\udcff') or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii:strict"},
    )
    assert done.stdout == b"Zo\\xeb \\udcff\n"


def test_a_bug_keeps_its_traceback_and_says_that_it_is_one() -> None:
    code = (
        "import sys\nfrom blockrank_server.service.cli.main import exit_code\n"
        "sys.exit(exit_code(lambda: {}['x']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].startswith("error: this is a bug of blockrank-server ")
