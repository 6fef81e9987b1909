"""Tells what is found in place of a file: a pointer, a page about it, another format, nothing."""

from pathlib import Path

_START_BYTES = 512
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LFS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
_PAGE = (b"<!doctype html", b"<html", b"<head", b"<body")
# torch.save writes a zip archive, older versions of it and Python's own pickle the others.
_PICKLE = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def stand_in(start: bytes) -> str | None:
    """Say what a file is in place of what its name promises, as far as its first bytes tell.

    Returns:
        The rest of a sentence that begins with the file's name, or None.
    """
    if not start:
        return "is empty, not a byte is in it: copy or download it again"
    text = start.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if text.startswith(_LFS):
        return "is a Git LFS pointer, not the file itself: run git lfs pull"
    if text[:32].lower().startswith(_PAGE):
        return "is an HTML page, such as a login page, not the file itself: download it again"
    return None


def stand_in_at(path: Path) -> str | None:
    """Tell what a file on disk is instead, as stand_in does; None where it cannot be read."""
    start = _start(path)
    return None if start is None else stand_in(start)


def is_pickle(path: Path) -> bool:
    """Tell whether a file begins as one that torch.save or pickle has written."""
    return (_start(path) or b"").startswith(_PICKLE)


def _start(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_START_BYTES)
    except (OSError, ValueError):
        return None
