import re
import subprocess
import sys
from pathlib import Path

import pytest

from blockrank_server.models.errors import CardError, CheckpointError, InputError
from blockrank_server.service.cli import main as cli
from blockrank_server.service.cli import rerank as cli_rerank
from blockrank_server.service.cli.main import main
from blockrank_server.service.cli.options import read_settings

COMMANDS = ("serve", "rerank", "info", "train", "evaluate", "select-heads")


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"\n    {command}\s", out) for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_examples_and_exit_codes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0
    assert "examples:\n  blockrank-server" in out
    assert "exit codes: 0" in out


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys\nfrom blockrank_server.service.cli.main import main\n"
        "try:\n    main(['serve', '--help'])\n"
        "finally:\n    print([m for m in ('torch', 'transformers', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "COMMAND"),
        (["fly"], "fly"),
        (["serve", "--port", "x"], "--port"),
        (["serve", "--prot", "1"], "--prot"),
        (["serve", "--quantization", "int3"], "int3"),
        (["rerank", "file"], "--query"),
        (["rerank", "--query", "q", "--top-n", "0", "file"], "not a whole number above 0"),
        (["rerank", "--query", "q", "--top-n", "x", "file"], "not a whole number above 0"),
        (["rerank", "--query", "q", "--format", "csv", "file"], "csv"),
    ],
)
def test_a_wrong_flag_is_one_line_and_2(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    err = capsys.readouterr().err
    assert caught.value.code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert reason in err


@pytest.mark.parametrize("command", ["serve", "info"])
def test_a_wrong_setting_is_one_line_and_2(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BLOCKRANK_MAX_BATCH_TOKENS", "-1")
    monkeypatch.setenv("BLOCKRANK_MAX_WAIT_MS", "never")
    assert main([command]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "max_batch_tokens" in err
    assert "max_wait_ms" in err


def test_an_unknown_variable_is_one_line_and_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BLOCKRANK_MODLE", "x")
    assert main(["info"]) == 2
    assert "unknown BLOCKRANK_MODLE" in capsys.readouterr().err


def test_flags_win_over_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKRANK_PORT", "1")
    monkeypatch.setenv("BLOCKRANK_DEVICE", "cuda")
    options = cli._parser().parse_args(["serve", "--port", "2", "--card", "c.json", "--offline"])
    settings = read_settings(options)
    assert (settings.port, settings.device) == (2, "cuda")
    assert (settings.card, settings.offline) == (Path("c.json"), True)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CardError("a\ncard"), 1),
        (CheckpointError("a\ncheckpoint"), 1),
        (InputError("an\ninput", field="query"), 2),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_have_their_exit_code_and_one_line(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(cli_rerank, "rerank_file", fail)
    assert main(["rerank", "--query", "q"]) == code
    expected = "" if code == 130 else f"error: {' '.join(str(error).split())}\n"
    assert capsys.readouterr().err == expected


def test_a_reader_that_stops_early_is_no_error(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("blockrank-server")
    with subprocess.Popen(
        [command, "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
