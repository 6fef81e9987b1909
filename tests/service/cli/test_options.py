"""Every setting is a flag, but secrets; what cannot be opened is refused before anything begins."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.checkpoint.card import BUILT_IN, CARD_FILE, built_in_cards
from blockrank_server.service.cli.exit_codes import UsageError
from blockrank_server.service.cli.main import main, parse
from blockrank_server.service.cli.options import MODEL_SETTINGS, check_model, read_settings
from blockrank_server.service.settings import Settings

SECRETS = {"api_keys", "engine_api_key"}
CARDS = ", ".join(built_in_cards())
# A value other than the default for each setting, as it is typed.
TYPED = {
    "model": "a/b",
    "card": "c.json",
    "root_path": "/team/rerank",
    "adapter": "folder",
    "revision": "v1",
    "device": "cuda:1",
    "dtype": "bfloat16",
    "quantization": "int8",
    "cuda_graphs": "off",
    "cache_dir": "cache",
    "host": "::1",
    "port": "1",
    "api_keys_file": "keys",
    "cors_origins": "https://a.example,https://b.example",
    "document_cache_salt": "api_key",
    "engine_url": "http://vllm:8000",
    "log_level": "debug",
}


def typed(name: str) -> list[str]:
    """A flag with a value that is not the default."""
    field, flag = Settings.model_fields[name], name.replace("_", "-")
    if field.annotation is bool:
        return [f"--no-{flag}" if field.default else f"--{flag}"]
    # One number that is in the range of all of them.
    return [f"--{flag}", TYPED.get(name, "1")]


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - SECRETS))
def test_every_setting_is_a_flag_of_serve(name: str) -> None:
    needs_keys = name == "document_cache_salt" or ("key" in name and name != "api_keys_file")
    needed = ["api_keys_file"] if needs_keys else []
    needed += ["engine_url"] if name.startswith("engine_") and name != "engine_url" else []
    flags = [word for each in (name, *needed) for word in typed(each)]
    settings = read_settings(parse(["serve", *flags]))
    assert getattr(settings, name) != Settings.model_fields[name].default
    assert settings.model_fields_set == {name, *needed}


@pytest.mark.parametrize("command", [["rerank", "--query", "q"], ["info"], ["evaluate", "data"]])
def test_commands_that_open_a_model_take_its_flags(command: list[str]) -> None:
    flags = [word for name in MODEL_SETTINGS for word in typed(name)]
    assert read_settings(parse([*command, *flags])).model_fields_set == set(MODEL_SETTINGS)


def test_help_tells_what_a_flag_does_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    for name, field in Settings.model_fields.items():
        assert (f"{field.description} Default: " in out) == (name not in SECRETS), name
    assert "picks a free one. Default: 8000." in out


@pytest.mark.parametrize("flag", [["--api-keys", "hidden"], ["--api-keys=hidden"]])
def test_a_secret_is_no_flag_and_is_not_shown(
    flag: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", *flag])
    err = capsys.readouterr().err
    assert caught.value.code == 2
    assert "set BLOCKRANK_API_KEYS or give a file (--api-keys-file)" in err
    assert "hidden" not in err
    assert err.count("\n") == 1


def test_a_secret_without_a_file_names_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--engine-api-key", "hidden"])
    err = capsys.readouterr().err
    assert "set BLOCKRANK_ENGINE_API_KEY; see" in err
    assert "hidden" not in err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--port", "x"], "--port: Input should be a valid integer"),
        (["--port", "70000"], "--port: Input should be less than or equal to 65535"),
        (["--device", "tpu"], "--device: 'tpu' is not auto, cpu, cuda or cuda:N"),
        (["--metrics-need-key"], "metrics_need_key needs api_keys or api_keys_file"),
    ],
)
def test_a_wrong_value_names_its_flag(flags: list[str], reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_settings(parse(["serve", *flags]))
    assert str(caught.value).startswith(reason)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with config.json and a card, and no weights: what is checked, and no more."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / CARD_FILE).write_bytes((BUILT_IN / "MindscapeRAG--QRRanker.json").read_bytes())
    return tmp_path


@pytest.mark.parametrize("model", ["default", "owner/name", "MindscapeRAG/QRRanker"])
@pytest.mark.parametrize("card", [None, "default"])
def test_names_that_may_be_opened(model: str, card: str | None) -> None:
    check_model(Settings(model=model, card=card, device="cpu"))


def test_a_folder_that_may_be_opened(folder: Path, tmp_path: Path) -> None:
    check_model(Settings(model=str(folder)))
    (folder / CARD_FILE).rename(tmp_path / "card.json")
    check_model(Settings(model=str(folder), card=str(tmp_path / "card.json")))
    check_model(Settings(model=str(folder), card="MindscapeRAG/QRRanker"))


def remove(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def write_card(text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / CARD_FILE).write_text(text)


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (remove("config.json"), r"is a folder without config\.json"),
        (
            remove(CARD_FILE),
            r"rerank_card\.json is missing: .* one of MindscapeRAG/QRRanker, .*, default,",
        ),
        (write_card("{"), r"rerank_card\.json: card: Invalid JSON"),
        (write_card(json.dumps({"card_version": 1})), r"rerank_card\.json: name: Field required"),
    ],
)
def test_a_folder_that_cannot_be_opened(
    breaks: Callable[[Path], Any], reason: str, folder: Path
) -> None:
    breaks(folder)
    with pytest.raises(UsageError, match=reason):
        check_model(Settings(model=str(folder)))


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--model", "/no/where"], "model '/no/where' is no folder, no hub name"),
        (["--model", "./nowhere"], "model './nowhere' is no folder, no hub name"),
        (["--model", "defualt"], f"none of {CARDS}"),
        (["--model", __file__], "is a file; name the folder it is in"),
        (["--card", "nope"], f"card 'nope' is neither a file nor one of {CARDS}"),
        (["--card", __file__], "test_options.py: card: Invalid JSON"),
        (["--card", "MindscapeRAG/QRRanker"], "names no weights, and model 'default' has none"),
        (
            ["--model", "default-reasoning", "--quantization", "int8"],
            "quantization does not apply to a card of kind reasoning",
        ),
        (["--revision", "v1"], "revision 'v1' applies to hub names, not to 'default'"),
    ],
)
@pytest.mark.parametrize("command", [["rerank", "--query", "q"], ["info"], ["serve"]])
def test_every_command_refuses_what_cannot_be_opened(
    command: list[str],
    flags: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command, *flags]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert reason in err
    assert err.count("\n") == 1


def test_what_reads_data_refuses_a_model_before(tmp_path: Path) -> None:
    flags = ["no-such-data", "--model", "/no/where"]
    out = ["--out", str(tmp_path / "card.json")]
    for command in (["evaluate"], ["select-heads", *out], ["calibrate", *out]):
        options = parse([*command, *flags])
        with pytest.raises(UsageError, match="model '/no/where' is no folder"):
            options.command(options)
