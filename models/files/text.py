"""Reads text as people and programs leave it in files: with a byte order mark, broken, too deep."""

import json
import re
from pathlib import Path
from typing import Any

from blockrank_server.models.errors import RankerError
from blockrank_server.models.files.stand_in import stand_in

_BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# JSON spells a surrogate in no other way, and UTF-8 cannot hold one.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class TextError(RankerError, ValueError):
    """A text cannot be read: the message tells where and why, and shows nothing of it."""


def read_text(path: Path) -> str:
    """Read the text of a UTF-8 file, without a byte order mark.

    Raises:
        OSError: the file cannot be read.
        TextError: it is another file than was meant, or no UTF-8; naming it and the line.
    """
    raw = path.read_bytes()
    if raw and (fault := stand_in(raw)):
        raise TextError(f"{path} {fault}")
    return decode(raw, str(path))


def decode(raw: bytes, name: str, first_line: int = 1) -> str:
    """Decode UTF-8; a byte order mark in front of it is skipped.

    Args:
        name: of the file, for the error.
        first_line: the number of the line that raw begins with.

    Raises:
        TextError: it is no UTF-8, or holds a NUL byte, as no text does.
    """
    if raw.startswith(_UTF_16):
        raise TextError(f"{name} is UTF-16: save it as UTF-8")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = first_line + before.count(b"\n"), len(before) - before.rfind(b"\n") - 1
        raise TextError(f"{name}:{line}: not UTF-8 at byte {column}") from error
    if (found := text.find("\0")) >= 0:
        line = first_line + text.count("\n", 0, found)
        raise TextError(f"{name}:{line}: holds a NUL byte: binary or UTF-16, where text is needed")
    return text.removeprefix(_BYTE_ORDER_MARK)


def parse_json(text: str) -> Any:
    """Return the value that JSON spells.

    Raises:
        TextError: it is no JSON, or a text in it is broken, told by its field.
    """
    try:
        value = json.loads(text)
        fault = broken_text(value) if _SURROGATE.search(text) else None
    except json.JSONDecodeError as error:
        at = f"character {error.pos + 1}"
        if "\n" in text.strip():
            at = f"line {error.lineno}, character {error.colno}"
        raise TextError(f"is no JSON: {error.msg} at {at}") from error
    except RecursionError as error:
        raise TextError("is no JSON that can be read: nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise TextError(f"is no JSON that can be read: {str(error).partition(';')[0]}") from error
    if fault:
        raise TextError(fault)
    return value


def broken_json(text: str, *, allows_nul: bool = True) -> str | None:
    """Find the first broken text in what JSON spells; None for what is no JSON at all."""
    try:
        return broken_text(json.loads(text), allows_nul=allows_nul)
    except (ValueError, RecursionError):
        return None


def broken_text(value: object, *, allows_nul: bool = True) -> str | None:
    """Find the first text in a value of JSON or YAML that is none, and say which it is.

    Args:
        allows_nul: a NUL character is fine; names of files cannot hold one.

    Raises:
        RecursionError: the value is nested too deeply.
    """
    return _broken(value, "", allows_nul)


def _broken(value: object, field: str, allows_nul: bool) -> str | None:
    if isinstance(value, str):
        fault = _fault(value, allows_nul)
        return f"{field or 'the text'} holds {fault}" if fault else None
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(name, str) and (fault := _fault(name, allows_nul)):
                return f"the name of a field{f' of {field}' if field else ''} holds {fault}"
            if found := _broken(inner, f"{field}.{name}" if field else str(name), allows_nul):
                return found
    if isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            if found := _broken(inner, f"{field}[{i}]", allows_nul):
                return found
    return None


def _fault(text: str, allows_nul: bool) -> str | None:
    if not allows_nul and "\0" in text:
        return "a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a lone surrogate, which is no character"
    return None
