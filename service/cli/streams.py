"""Cares for the standard streams: which are closed, what they cannot spell, when they are full."""

import contextlib
import errno
import io
import os
import sys

_OUTPUT = "standard output"


def prepare_streams() -> None:
    """Make the standard streams safe to use.

    A file that is opened takes the lowest number that is free: that of a closed stream, to which
    libraries write. A character that a stream cannot spell is escaped.

    Raises:
        OSError: standard output is closed, and so nobody would get the answer.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_WRONLY)
    if sys.stdout is None:
        # What is written when the interpreter ends must not go to the next file that is opened.
        os.open(os.devnull, os.O_RDONLY)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # until the end
    if sys.stdout is None:
        raise OSError(errno.EBADF, "closed; send it to /dev/null if nobody is to read it", _OUTPUT)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def write_json(raw: bytes) -> None:
    """Write JSON to standard output: always in UTF-8, as JSON is.

    Raises:
        OSError: it cannot be written.
    """
    sys.stdout.flush()
    sys.stdout.buffer.write(raw)


def release_output() -> OSError | None:
    """Hand on what is written; if that fails, throw it away, and with it what follows.

    Python would complain of it with a traceback when it ends.

    Returns:
        Why it failed, with standard output as the file's name.
    """
    if sys.stdout is None:
        return None
    try:
        sys.stdout.flush()
    except OSError as error:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        error.filename = _OUTPUT
        return error
    return None
