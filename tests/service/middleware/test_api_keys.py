import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from blockrank_server.service.middleware.api_keys import ApiKeys, ApiKeysError
from blockrank_server.service.settings import Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def keys(listed: str | None = None, file: Path | None = None) -> ApiKeys:
    secret = SecretStr(listed) if listed is not None else None
    return ApiKeys(Settings(api_keys=secret, api_keys_file=file))


def replace(file: Path, text: str) -> None:
    """As a careful operator does it: never half a file, always another inode."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def name_of(found: Any) -> str | None:
    assert found is not None
    name: str | None = found.name
    return name


def test_without_keys_none_is_required() -> None:
    assert not keys().are_required


def test_a_list_and_a_file_hold_together(file: Path) -> None:
    file.write_text("\n# who: alice\r\nalice:k-alice\r\n\n  k-nobody  \nbob:k/b+o=b")
    found = keys("k1, k2", file)
    assert found.are_required
    assert [name_of(found.find([k])) for k in ("k1", "k2", "k-nobody")] == [None] * 3
    assert [name_of(found.find([k])) for k in ("k-alice", "k/b+o=b")] == ["alice", "bob"]


def test_a_byte_order_mark_is_no_part_of_a_key(file: Path) -> None:
    file.write_text("alice:k-alice\nk-nobody", encoding="utf-8-sig")
    assert name_of(keys(file=file).find(["k-alice"])) == "alice"
    file.write_text("# who", encoding="utf-8-sig")
    with pytest.raises(ApiKeysError, match="holds no key"):
        keys(file=file)


@pytest.mark.parametrize(
    "wrong", ["", "k", "k11", "K1", "k1,k2", "alice:k1", "# c", "k1 ", "\xe9", "k" * 60_000]
)
def test_anything_else_is_no_key(file: Path, wrong: str) -> None:
    file.write_text("# c\nalice:k1\n")
    assert keys("k2", file).find([wrong]) is None


def test_any_of_the_keys_given_is_enough() -> None:
    assert keys("k1,k2").find(["no", "k2"]) is not None
    assert keys("k1,k2").find([]) is None


def test_no_key_is_kept_or_shown(file: Path) -> None:
    file.write_text("alice:secret1")
    found = keys("secret2", file)
    shown = repr(vars(found)) + repr(found.find(["secret1"])) + repr(Settings(api_keys="secret2"))
    assert "secret" not in shown.replace("api_keys=SecretStr", "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no key"),
        ("\n# alice:k\n \n", "holds no key"),
        ("k1\nsecret two", "line 2 is not key or name:key"),
        ("k1\nsecret,two", "line 2 is not"),
        ("a:b:secret", "line 1 is not"),
        (":secret", "line 1 is not"),
        ("alice:", "line 1 is not"),
        ("al ice:secret", "line 1 is not"),
        ("a" * 65 + ":secret", "line 1 is not"),
        ("secret" * 50, "line 1 is not"),
        ("k1\n\n\xe9secret", "line 3 is not"),
        ("k1\n\ufeffsecret", "line 2 is not"),
        ("secret\x00", "line 1 is not"),
        ("k1\nalice:secret\nbob:secret\n", "line 3 repeats the key of line 2"),
    ],
)
def test_a_bad_file_is_named_with_its_line(file: Path, text: str, reason: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ApiKeysError) as caught:
        keys(file=file)
    assert reason in str(caught.value)
    assert str(file) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(ApiKeysError, match=f"{file}: No such file"):
        keys(file=file)


@pytest.mark.parametrize("listed", [",", "k1,,k2", "k1,", "alice:secret", "k1,sec ret", "\xe9"])
def test_a_bad_list_is_refused_without_showing_it(listed: str) -> None:
    with pytest.raises(ApiKeysError, match=r"^api_keys, key \d of \d is not a key") as caught:
        keys(listed)
    assert "secret" not in str(caught.value)


def test_keys_rotate_without_a_restart(file: Path) -> None:
    file.write_text("alice:old")
    found = keys(file=file)
    replace(file, "alice:old\nalice:new")
    assert name_of(found.find(["old"])) == name_of(found.find(["new"])) == "alice"
    replace(file, "alice:new")
    assert found.find(["old"]) is None
    assert found.find(["new"]) is not None


def test_a_file_written_in_place_is_seen(file: Path) -> None:
    file.write_text("k1")
    found = keys(file=file)
    file.write_text("k1\nk2")
    assert found.find(["k2"]) is not None


def test_a_link_that_points_elsewhere_is_seen(tmp_path: Path) -> None:
    """So Kubernetes rotates a secret."""
    for name in ("k1", "k2"):
        (tmp_path / name).write_text(name)
    link, new = tmp_path / "link", tmp_path / "new"
    link.symlink_to(tmp_path / "k1")
    found = keys(file=link)
    new.symlink_to(tmp_path / "k2")
    new.replace(link)
    assert found.find(["k2"]) is not None
    assert found.find(["k1"]) is None


@pytest.mark.parametrize("text", ["", "# all gone", "k2\nnot a key secret"])
def test_a_broken_rotation_keeps_the_last_good_keys(file: Path, text: str) -> None:
    file.write_text("k1")
    found = keys(file=file)
    replace(file, text)
    with capture_logs() as lines:
        for _ in range(3):
            assert found.find(["k1"]) is not None
            assert found.find(["k2"]) is None
    [line] = lines
    assert line["log_level"] == "error"
    assert str(file) in line["error"]
    assert "secret" not in str(line)
    replace(file, "k2")
    with capture_logs() as lines:
        assert found.find(["k1"]) is None
        assert found.find(["k2"]) is not None
    assert lines == [{"event": "API keys read", "log_level": "info", "num_keys": 1}]


def test_a_file_that_goes_away_keeps_the_last_good_keys(file: Path) -> None:
    file.write_text("k1")
    found = keys(file=file)
    os.unlink(file)
    with capture_logs() as lines:
        for _ in range(3):
            assert found.find(["k1"]) is not None
            assert found.find([""]) is None
    assert [line["log_level"] for line in lines] == ["error"]
    file.write_text("k2")
    assert found.find(["k2"]) is not None
