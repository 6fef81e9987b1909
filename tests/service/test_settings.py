from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from blockrank_server.service.cli.options import flag_name, shown_default
from blockrank_server.service.settings import Settings, variable_name

PAGE = Path(__file__).parents[2] / "deploy" / "settings.md"


def test_a_variable_sets_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKRANK_MAX_BATCH_TOKENS", "77")
    assert Settings().max_batch_tokens == 77


def test_an_argument_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKRANK_PORT", "77")
    assert Settings(port=78).port == 78


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKRANK_CARD", "")
    assert Settings().card is None


def test_an_unknown_variable_is_refused_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKRANK_MAX_BATCH_TOKEN", "77")
    nearest = r"unknown BLOCKRANK_MAX_BATCH_TOKEN; did you mean BLOCKRANK_MAX_BATCH_TOKENS\?"
    with pytest.raises(ValidationError, match=nearest):
        Settings()
    monkeypatch.setenv("BLOCKRANK_XYZZY", "1")
    with pytest.raises(ValidationError, match=f"{nearest}; unknown BLOCKRANK_XYZZY; .* --help"):
        Settings()


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(ValidationError, match="prot"):
        Settings(prot=80)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_batch_tokens", 0),
        ("max_queue_requests", 0),
        ("max_queue_tokens", 0),
        ("max_wait_ms", -1),
        ("request_timeout_ms", 0),
        ("port", 65_536),
        ("num_tokenize_threads", 0),
        ("log_level", "loud"),
        ("model", ""),
        ("dtype", "float16"),
        ("device", "tpu"),
        ("device", "cuda:"),
        ("device", "cuda:-1"),
        ("device", "cuda0"),
        ("device", ""),
        ("max_concurrent_requests_per_key", 0),
        ("connection_timeout_s", 0),
        ("cors_origins", "https://a.example/"),
        ("cors_origins", "a.example"),
        ("cors_origins", "https://a.example,"),
        ("cors_origins", ""),
        ("root_path", "team"),
        ("root_path", "https://a.example/team"),
        ("root_path", "/a//b"),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def test_every_field_is_described_in_sentences() -> None:
    for name, field in Settings.model_fields.items():
        assert (field.description or "").endswith("."), name


def test_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKRANK_CORS_ORIGINS", "https://a.example, http://localhost:3000,*")
    assert Settings().cors_origins == ("https://a.example", "http://localhost:3000", "*")


@pytest.mark.parametrize("name", ["BLOCKRANK_API_KEYS", "blockrank_api_keys_file"])
@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_key_does_not_open_the_server(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=f"{name.upper()} is empty"):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metrics_need_key", True),
        ("max_concurrent_requests_per_key", 3),
        ("document_cache_salt", "api_key"),
    ],
)
def test_what_needs_keys_is_refused_without(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=f"{name} needs api_keys or api_keys_file"):
        Settings(**{name: value})
    assert getattr(Settings(api_keys="k", **{name: value}), name) == value


def test_keys_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKRANK_API_KEYS", "secret")
    settings = Settings()
    assert settings.api_keys is not None
    assert settings.api_keys.get_secret_value() == "secret"
    assert "secret" not in f"{settings!r} {settings} {settings.effective()}"
    monkeypatch.setenv("BLOCKRANK_PORT", "-1")
    with pytest.raises(ValidationError, match="port") as caught:
        Settings()
    assert "secret" not in str(caught.value)


def table() -> str:
    """The settings as the page shows them; python tests/service/test_settings.py prints it."""
    lines = ["| variable | flag | default | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        flag, default = flag_name(name), shown_default(name)
        if field.annotation is bool and flag:
            flag = f"{flag}`, `--no-{flag.removeprefix('--')}"
        cells = (
            f"`{variable_name(name)}`",
            f"`{flag}`" if flag else "none: a secret",
            default if default == "unset" else f"`{default}`",
            field.description,
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def test_the_page_lists_every_setting_with_its_default() -> None:
    found = [row for row in PAGE.read_text(encoding="utf-8").splitlines() if row.startswith("|")]
    assert "\n".join(found) == table()


if __name__ == "__main__":
    print(table())
