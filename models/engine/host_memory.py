"""Counts the memory of process and machine, and lets the process keep what it has freed."""

import ctypes
import os
import platform
from pathlib import Path

# Options of mallopt in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER = -1


def keep_freed_memory() -> bool:
    """Let malloc reuse large blocks instead of returning them to the system; for the whole process.

    A forward pass on the CPU allocates activations of tens of megabytes for every operation. By
    default glibc maps and unmaps each, and the kernel clears their pages every time: a quarter of
    the time of 100 documents (loadtests/results/LOG.md). The process keeps the memory of its
    largest batch instead. Call it before threads start: only one arena is used from then on.

    Returns:
        Whether the C library is one that can be told; nothing is changed otherwise.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {_M_ARENA_MAX: 1, _M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: _NEVER}
    return all(mallopt(name, value) == 1 for name, value in settings.items())


def give_back_freed_memory() -> bool:
    """Return what malloc holds free to the system, wherever in the heap it lies.

    Where sizes differ from pass to pass, as in training, kept memory falls to pieces that fit
    nothing: a run grew by 30 MB a step (loadtests/results/LOG.md). Takes a few milliseconds.

    Returns:
        Whether the C library can do it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    ctypes.CDLL(None).malloc_trim(0)
    return True


def process_and_machine_bytes() -> tuple[int, int]:
    """Count the memory that this process takes, and that the machine has."""
    page = os.sysconf("SC_PAGE_SIZE")
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return resident * page, os.sysconf("SC_PHYS_PAGES") * page
