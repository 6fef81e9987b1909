"""Finds how much CPU time this process may use: the cores it may run on, and a quota.

A container's limit of CPUs is a quota of its cgroup: all cores are there, and the kernel stops
every thread of the group when they have used up their time together. More threads than the quota
only make it stop earlier.
"""

import math
import os
from pathlib import Path

from blockrank_server.models.engine.cgroups import PROCESS, cgroup_folders, words_of


def num_cores() -> int:
    """Count the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(process: Path = PROCESS) -> float | None:
    """Return the cores' worth of time that this process's cgroups allow, the least of all levels.

    Args:
        process: the folder with cgroup and mountinfo.

    Returns:
        None without a limit, and where the system has no cgroups.
    """
    found = [
        quota for folder in cgroup_folders(process, "cpu") if (quota := _quota(folder)) is not None
    ]
    return min(found, default=None)


def num_threads(quota: float | None, cores: int) -> int:
    """Count the threads that a quota keeps busy, rounded up, and no more than there are cores."""
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _quota(folder: Path) -> float | None:
    """Return the quota of one cgroup, by the file of version 2 or the files of version 1."""
    words = words_of(folder / "cpu.max")
    if not words:
        words = words_of(folder / "cpu.cfs_quota_us") + words_of(folder / "cpu.cfs_period_us")
    try:
        quota, period = map(int, words)
    except ValueError:  # max, or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None
