"""Says what is told of an error that ends a command, and the exit code it gives."""

import contextlib
import errno
import re
import sys
import traceback
from importlib.metadata import version

from blockrank_server.models.errors import InputError, RankerError
from blockrank_server.service.cli.exit_codes import FAILURE, OK, USAGE, UsageError
from blockrank_server.service.middleware.api_keys import ApiKeysError

_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
# torch's words, on the CPU and on CUDA.
_NO_MEMORY = re.compile(r"can't allocate memory|out of memory")


def explain(error: Exception) -> int:
    """Print one line on an error, and a traceback above it if the error is a bug.

    Returns:
        The exit code.
    """
    if isinstance(error, UsageError | InputError | ApiKeysError):
        return _fail(USAGE, str(error))
    if isinstance(error, RankerError):
        return _fail(FAILURE, str(error))
    if isinstance(error, BrokenPipeError):
        return OK  # the reader (head, say) has enough
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        return _fail(FAILURE, "out of memory: give the process more, or less to do at a time")
    if isinstance(error, OSError):
        return _fail(FAILURE, _of_system(error))
    with contextlib.suppress(OSError):
        traceback.print_exception(error)
    reason = "".join(traceback.format_exception_only(error))
    return _fail(
        FAILURE,
        f"this is a bug of blockrank-server {version('blockrank-server')}, please report it with "
        f"the lines above: {reason}",
    )


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def _of_system(error: OSError) -> str:
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    reason = error.strerror or str(error) or type(error).__name__
    if names:
        return f"{' and '.join(names)}: {reason}"
    # The system names no file that was opened before. Ours are named: it is standard output.
    return f"cannot write standard output: {reason}" if error.errno in _WRITING else reason


def _fail(code: int, message: str) -> int:
    with contextlib.suppress(OSError):
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
