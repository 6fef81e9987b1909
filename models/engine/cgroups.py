"""Finds the control groups of this process, which limit what it may use of the machine."""

import re
from collections.abc import Iterator
from pathlib import Path

PROCESS = Path("/proc/self")
_OCTAL = re.compile(r"\\([0-7]{3})")


def cgroup_folders(process: Path, controller: str) -> Iterator[Path]:
    """Give the folders of the cgroups in which a controller can limit the process.

    Args:
        process: the folder with cgroup and mountinfo.
        controller: cpu or memory.
    """
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
        elif controller in controllers.split(","):
            by_kind["cgroup"] = Path(path)
    for line in mounts:
        mount, _, options = line.partition(" - ")
        kind, _, details = options.partition(" ")
        fields = mount.split(" ")
        if kind not in by_kind or len(fields) < 5:
            continue
        if kind == "cgroup2" or controller in details.rpartition(" ")[2].split(","):
            yield from _levels(by_kind[kind], Path(_spelt(fields[3])), Path(_spelt(fields[4])))


def memory_free_bytes(process: Path = PROCESS) -> list[int]:
    """List what each limit on the memory of this process still leaves, in bytes."""
    found = []
    for folder in cgroup_folders(process, "memory"):
        limit = words_of(folder / "memory.max") or words_of(folder / "memory.limit_in_bytes")
        used = words_of(folder / "memory.current") or words_of(folder / "memory.usage_in_bytes")
        if limit and used and limit[0].isdigit():
            found.append(max(0, int(limit[0]) - int(used[0]) + _reclaimable(folder)))
    return found


def _reclaimable(folder: Path) -> int:
    """Count the bytes of files that are cached and not in use: they count as used, and are not."""
    words = words_of(folder / "memory.stat")
    counts = dict(zip(words[::2], words[1::2], strict=True))
    return int(counts.get("total_inactive_file") or counts.get("inactive_file") or 0)


def _levels(group: Path, root: Path, mount_point: Path) -> Iterator[Path]:
    """Give a cgroup's folder and those above it, as far as they can be seen.

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


def words_of(file: Path) -> list[str]:
    """Split a cgroup's file into words; none where there is no such file."""
    try:
        return file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return []


def _spelt(path: str) -> str:
    """Return a path of mountinfo, where white space is spelt in octal."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), path)
