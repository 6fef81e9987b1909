"""Reads a file that holds a document a line: text or JSON, as it is or in gzip."""

import gzip
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import orjson

from blockrank_server.models.files.stand_in import stand_in
from blockrank_server.models.files.text import TextError, broken_json, decode
from blockrank_server.models.prompt.request import Document
from blockrank_server.service.cli.exit_codes import UsageError
from blockrank_server.service.dialects.documents import as_document
from blockrank_server.service.dialects.request import is_blank
from blockrank_server.service.errors import InvalidFieldError

_GZIP = b"\x1f\x8b"  # no UTF-8 text starts with it
_ID_FIELDS = ("id", "_id", "doc_id")


class DocumentLine(NamedTuple):
    """Holds a document, its line counted from 1, and the id that its object has, if any."""

    number: int
    document: Document
    id: object = None


def read_lines(file: str, kind: str | None) -> list[DocumentLine]:
    """Read the documents of a file; blank lines and blank documents are left out.

    Args:
        file: path, or - for standard input.
        kind: lines or jsonl; None decides by the file's name.

    Raises:
        UsageError: it cannot be read, a line is not a document, or there is none.
    """
    name = "standard input" if file == "-" else file
    # Not splitlines: it also splits at form feeds and the like, which no editor counts as lines.
    lines = _text(file, name).replace("\r\n", "\n").split("\n")
    is_json = kind == "jsonl" or (kind is None and file.removesuffix(".gz").endswith(".jsonl"))
    documents = [
        _from_json(number, text, name) if is_json else DocumentLine(number, text)
        for number, text in enumerate(lines, start=1)
        if text.strip()
    ]
    found = [line for line in documents if not is_blank(line.document)]
    if not found:
        raise UsageError(f"{name} holds no documents")
    return found


def _text(file: str, name: str) -> str:
    if file == "-" and sys.stdin is None:
        raise UsageError("standard input is closed")
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from error
    if raw and (fault := stand_in(raw)):
        raise UsageError(f"{name} {fault}")
    if raw.startswith(_GZIP):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise UsageError(f"{name} is gzip, and broken: {error}") from error
    try:
        return decode(raw, name)
    except TextError as error:
        raise UsageError(str(error)) from error


def _from_json(number: int, text: str, name: str) -> DocumentLine:
    try:
        value = orjson.loads(text.removeprefix("\ufeff"))  # where files were put together
        document = as_document(value, f"{name}:{number}")
    except orjson.JSONDecodeError as error:
        fault = broken_json(text)
        told = f": {fault}" if fault else f" is not JSON: {error}"
        raise UsageError(f"{name}:{number}{told}") from error
    except InvalidFieldError as error:
        raise UsageError(str(error)) from error
    ids = [value[field] for field in _ID_FIELDS if field in value] if type(value) is dict else []
    return DocumentLine(number, document, ids[0] if ids else None)
