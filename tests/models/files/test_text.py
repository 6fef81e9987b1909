"""Text of files: marks that are skipped, faults that are told by line and field."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrank_server.models.files.text import TextError, broken_text, decode, parse_json, read_text

MARK = b"\xef\xbb\xbf"


@given(st.text(st.characters(exclude_characters="\0\ufeff", exclude_categories=["Cs"])))
def test_text_is_read_with_and_without_a_byte_order_mark(text: str) -> None:
    assert decode(text.encode(), "f") == decode(MARK + text.encode(), "f") == text


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"a\nb\xffc", "f:2: not UTF-8 at byte 1"),
        (b"\xc3", "f:1: not UTF-8 at byte 0"),
        (b"a\n\nb\0", "f:3: holds a NUL byte"),
        ("a\n".encode("utf-16"), "f is UTF-16: save it as UTF-8"),
        ("a\n".encode("utf-16-le"), "f:1: holds a NUL byte: binary or UTF-16"),
        (b"\xed\xa0\x80", "f:1: not UTF-8 at byte 0"),  # a surrogate as some programs write it
    ],
)
def test_what_is_no_text_is_told_by_line(raw: bytes, reason: str) -> None:
    with pytest.raises(TextError) as caught:
        decode(raw, "f")
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (r'{"a": [{"b": "\ud800"}]}', "a[0].b holds a lone surrogate"),
        (r'{"a": "x\udfffy"}', "a holds a lone surrogate"),
        (r'"\uD83D"', "the text holds a lone surrogate"),
        (r'{"a": {"\ud800": 1}}', "the name of a field of a holds a lone surrogate"),
        ("[" * 100_000, "is no JSON that can be read: nested too deeply"),
        ("9" * 5000, "is no JSON that can be read: Exceeds the limit"),
        ('{"a": ', "is no JSON: Expecting value at character 7"),
        ('{"a":\n]', "is no JSON: Expecting value at line 2, character 1"),
        ("", "is no JSON: Expecting value at character 1"),
    ],
)
def test_json_that_cannot_be_read_is_told_by_field_or_place(text: str, reason: str) -> None:
    with pytest.raises(TextError) as caught:
        parse_json(text)
    assert str(caught.value).startswith(reason)


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert parse_json(r'{"a": "\ud83d\ude00", "b": "\\ud800"}') == {"a": "😀", "b": r"\ud800"}


def test_a_nul_character_is_text_but_no_name() -> None:
    assert broken_text({"a": ["\0"]}) is None
    assert broken_text({"a": ["\0"]}, allows_nul=False) == "a[0] holds a NUL character"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (MARK + b"\n<!DOCTYPE html><html>", "is an HTML page"),
    ],
)
def test_another_file_than_was_meant_is_told(raw: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(raw)
    with pytest.raises(TextError) as caught:
        read_text(path)
    assert str(caught.value).startswith(f"{path} {reason}")
