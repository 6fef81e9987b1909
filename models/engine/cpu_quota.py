"""How much of the machine's CPU time this process may use: the cores it may run on, and a quota.

A container's limit of CPUs is a quota of its cgroup: all cores are there, and the kernel stops
every thread of the group when they have used up their time together. More threads than the quota
only make it stop earlier.
"""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

_PROCESS = Path("/proc/self")
_OCTAL = re.compile(r"\\([0-7]{3})")


def num_cores() -> int:
    """Count the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(process: Path = _PROCESS) -> float | None:
    """The cores' worth of time that the cgroups of this process allow, the least of all levels.

    Args:
        process: the folder with cgroup and mountinfo.

    Returns:
        None without a limit, and where the system has no cgroups.
    """
    found = [quota for folder in _cgroups(process) if (quota := _quota(folder)) is not None]
    return min(found, default=None)


def num_threads(quota: float | None, cores: int) -> int:
    """The threads that a quota keeps busy, rounded up, and no more than there are cores."""
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _cgroups(process: Path) -> Iterator[Path]:
    """The folders of this process's cgroups that can limit its CPU time, and of those above."""
    try:
        groups = (process / "cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (process / "mountinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    by_kind: dict[str, Path] = {}
    for line in groups:
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            by_kind["cgroup2"] = Path(path)
        elif "cpu" in controllers.split(","):
            by_kind["cgroup"] = Path(path)
    for line in mounts:
        mount, _, options = line.partition(" - ")
        kind, _, details = options.partition(" ")
        fields = mount.split(" ")
        if kind not in by_kind or len(fields) < 5:
            continue
        if kind == "cgroup2" or "cpu" in details.rpartition(" ")[2].split(","):
            yield from _levels(by_kind[kind], Path(_spelt(fields[3])), Path(_spelt(fields[4])))


def _levels(group: Path, root: Path, mount_point: Path) -> Iterator[Path]:
    """A cgroup's folder and those above it, as far as they can be seen.

    Args:
        group: the cgroup's path in its hierarchy.
        root: the cgroup that is seen at the mount point; a container may see its own alone.
    """
    inner = group.relative_to(root) if group.is_relative_to(root) else Path()
    if ".." in inner.parts:
        inner = Path()
    folder = mount_point / inner
    yield folder
    while folder != mount_point:
        folder = folder.parent
        yield folder


def _quota(folder: Path) -> float | None:
    """The quota of one cgroup, by the file of version 2 or the files of version 1."""
    words = _words(folder / "cpu.max")
    if not words:
        words = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
    try:
        quota, period = map(int, words)
    except ValueError:  # max, or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return []


def _spelt(path: str) -> str:
    """A path of mountinfo, where white space is spelt in octal."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), path)
