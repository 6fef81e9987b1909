"""Tells what is wrong with a body that is no JSON object, in words that hold no byte of it."""

import codecs
import re
from collections.abc import Iterator

import orjson

_MAX_START = 300  # bytes at the beginning, by which other formats are told
_FORM = re.compile(rb"\s*[\w.+%\[\]-]+=")
_MULTIPART = re.compile(rb"--[^\r\n]+\r?\ncontent-", re.IGNORECASE)
_ENCODED = re.compile(rb"\s*%7b", re.IGNORECASE)
_KINDS = {str: "string", list: "array", bool: "boolean", int: "number", float: "number"}
# What stands where orjson stops, from one character before it on.
_PIECES = {
    re.compile(r".?-?(NaN|Infinity|inf|nan)\b", re.DOTALL): "NaN and Infinity are no JSON numbers",
    re.compile(r".?'", re.DOTALL): "strings and keys have double quotes, not single ones",
    re.compile(
        r".(True|False|None)\b", re.DOTALL
    ): "true, false and null are written in lower case",
}


def reason_of(raw: bytes, error: orjson.JSONDecodeError) -> str:
    """Tell why a body could not be read.

    Args:
        raw: the body, which is not JSON.
        error: what orjson says of it.
    """
    return next(_reasons(raw, error))


def kind_of(value: object) -> str:
    """Return JSON's word for the kind of a value that is no object."""
    return _KINDS.get(type(value), "null")


def _reasons(raw: bytes, error: orjson.JSONDecodeError) -> Iterator[str]:
    """Yield what may be wrong; the first is the nearest."""
    start = raw[:_MAX_START]
    if not start.strip():
        yield "body is empty: send a JSON object"
    if start.startswith(b"\x1f\x8b"):
        yield "body is gzip, which no Content-Encoding says"
    if _is_wide(start):
        yield "body is UTF-16 or UTF-32: send JSON in UTF-8"
    if _MULTIPART.match(start):
        yield "body is multipart/form-data: send a JSON object"
    if _ENCODED.match(start):
        yield "body is percent-encoded: send the JSON as it is"
    if _FORM.match(start):
        yield "body is a form (name=value): send a JSON object"
    near = error.doc[max(0, error.pos - 1) :][:20]
    for piece, reason in _PIECES.items():
        if piece.match(near):
            yield f"body is not JSON: {reason}: {_place(error)}"
    yield f"body is not JSON: {error}"


def _is_wide(start: bytes) -> bool:
    """Say whether ASCII has zeros in between, or the text a mark that says so."""
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
    return start.startswith(marks) or (0 in start[:4] and any(start[:4]))


def _place(error: orjson.JSONDecodeError) -> str:
    return f"line {error.lineno} column {error.colno} (char {error.pos})"
