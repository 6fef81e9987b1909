import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from blockrank_server.models.errors import CardError, CheckpointError, InputError
from blockrank_server.service.cli import rank_file
from blockrank_server.service.cli.main import main, parse
from blockrank_server.service.cli.options import read_settings
from blockrank_server.service.middleware.api_keys import ApiKeysError

COMMANDS = (
    *("serve", "rerank", "info", "precompute", "group-lists"),
    *("train", "evaluate", "select-heads", "calibrate", "verify"),
)


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


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"blockrank-server {version('blockrank-server')}\n"


@pytest.mark.parametrize("arguments", [["serve", "--help"], ["serve", "--model", "/no/where"]])
def test_help_and_refusals_do_not_wait_for_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom blockrank_server.service.cli.main import main\n"
        f"try:\n    main({arguments})\n"
        "finally:\n    print([m for m in ('torch', 'transformers', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "COMMAND; see blockrank-server --help"),
        (["fly"], "unknown command 'fly'; there are serve, rerank, info, "),
        (["inf"], "unknown command 'inf'; did you mean info? See blockrank-server --help"),
        (["--verison"], "unknown flag '--verison'; did you mean --version? See blockrank-server -"),
        (
            ["serve", "--max-batch-token=1"],
            "unknown flag '--max-batch-token'; did you mean --max-batch-tokens? "
            "See blockrank-server serve --help",
        ),
        (["serve", "--dev", "cpu"], "unknown flag '--dev'; did you mean --device?"),
        (["serve", "extra"], "unrecognized arguments: extra; see blockrank-server serve --help"),
        (["serve", "--dtype", "fp16"], "'fp16' (choose from 'auto', 'float32', 'bfloat16')"),
        (["rerank", "--qery", "q", "file"], "unknown flag '--qery'; did you mean --query?"),
        (["rerank", "--port", "1", "file"], "unknown flag '--port'"),
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
    assert "BLOCKRANK_MAX_BATCH_TOKENS: Input should be greater than 0" in err
    assert "BLOCKRANK_MAX_WAIT_MS: Input should be a valid number" in err


def test_an_unknown_variable_is_one_line_and_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BLOCKRANK_MODLE", "x")
    assert main(["info"]) == 2
    err = capsys.readouterr().err
    assert err == "error: unknown BLOCKRANK_MODLE; did you mean BLOCKRANK_MODEL?\n"


def test_flags_win_over_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKRANK_PORT", "1")
    monkeypatch.setenv("BLOCKRANK_DEVICE", "cuda")
    options = parse(["serve", "--port", "2", "--card", "c.json", "--offline", "--no-docs"])
    settings = read_settings(options)
    assert (settings.port, settings.device) == (2, "cuda")
    assert (settings.card, settings.offline, settings.docs) == ("c.json", True, False)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CardError("a\ncard"), 1),
        (CheckpointError("a\ncheckpoint"), 1),
        (InputError("an\ninput", field="query"), 2),
        (ApiKeysError("a\nkey"), 2),
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

    monkeypatch.setattr(rank_file, "rank_file", fail)
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
