"""Quotas out of written trees of cgroups: both versions, nested, as containers show them."""

import os
from pathlib import Path

import pytest

from blockrank_server.models.engine.cpu_quota import cpu_quota, num_cores, num_threads

V2 = "30 23 0:26 {root} {mount} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 25 0:29 {root} {mount} rw shared:15 - cgroup cgroup rw,cpu,cpuacct"
OTHER = "34 25 0:30 / {mount}/memory rw shared:16 - cgroup cgroup rw,memory"


def process(
    folder: Path, cgroup: str, *mounts: tuple[str, str, str], files: dict[str, str]
) -> Path:
    """A /proc/self whose mount points are folders below another, with these files of cgroups."""
    made = folder / "proc"
    made.mkdir()
    (made / "cgroup").write_text(cgroup)
    lines = [
        line.format(root=root, mount=str(folder / mount).replace(" ", "\\040"))
        for line, root, mount in mounts
    ]
    (made / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + "\n".join(lines))
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return made


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("150000 100000\n", 1.5),
        ("50000 100000", 0.5),
        ("max 100000\n", None),
        ("max\n", None),
        ("", None),
        ("0 100000", None),
        ("nonsense", None),
        ("1 2 3", None),
        (None, None),
    ],
)
def test_version_2(tmp_path: Path, text: str | None, quota: float | None) -> None:
    files = {} if text is None else {"cg/cpu.max": text}
    assert cpu_quota(process(tmp_path, "0::/\n", (V2, "/", "cg"), files=files)) == quota


@pytest.mark.parametrize(
    ("quota_us", "period_us", "quota"),
    [("250000", "100000", 2.5), ("-1", "100000", None), ("100000", None, None), (None, "1", None)],
)
def test_version_1(
    tmp_path: Path, quota_us: str | None, period_us: str | None, quota: float | None
) -> None:
    found = {"cfs_quota_us": quota_us, "cfs_period_us": period_us}
    files = {f"cg/cpu.{name}": text for name, text in found.items() if text is not None}
    group = "5:memory:/x\n4:cpu,cpuacct:/\n0::/\n"
    mounts = ((V1, "/", "cg"), (OTHER, "/", "cg"))
    assert cpu_quota(process(tmp_path, group, *mounts, files=files)) == quota


def test_the_least_of_all_levels_holds(tmp_path: Path) -> None:
    files = {
        "cg/cpu.max": "max 100000",
        "cg/a.slice/cpu.max": "200000 100000",
        "cg/a.slice/b/cpu.max": "700000 100000",
        "cg/other/cpu.max": "10000 100000",
    }
    made = process(tmp_path, "0::/a.slice/b\n", (V2, "/", "cg"), files=files)
    assert cpu_quota(made) == 2.0


@pytest.mark.parametrize("line", [V1, V2])
def test_a_container_that_sees_its_own_group_as_the_top(tmp_path: Path, line: str) -> None:
    """Without a namespace of cgroups: the path is the host's, and the mount begins below it."""
    files = {
        "cg/cpu.max": "100000 100000",
        "cg/cpu.cfs_quota_us": "100000",
        "cg/cpu.cfs_period_us": "100000",
        "cg/inner/cpu.max": "50000 100000",
        "cg/inner/cpu.cfs_quota_us": "50000",
        "cg/inner/cpu.cfs_period_us": "100000",
    }
    group = "4:cpu,cpuacct:{0}\n" if line is V1 else "0::{0}\n"
    made = process(tmp_path, group.format("/docker/1"), (line, "/docker/1", "cg"), files=files)
    assert cpu_quota(made) == 1.0
    (made / "cgroup").write_text(group.format("/docker/1/inner"))
    assert cpu_quota(made) == 0.5
    (made / "cgroup").write_text(group.format("/../../somewhere/else"))
    assert cpu_quota(made) == 1.0


def test_both_versions_at_once(tmp_path: Path) -> None:
    files = {
        "one/cpu.cfs_quota_us": "300000",
        "one/cpu.cfs_period_us": "100000",
        "two/cgroup.procs": "1",
    }
    group = "4:cpu,cpuacct:/\n0::/\n"
    mounts = ((V2, "/", "two"), (V1, "/", "one"))
    assert cpu_quota(process(tmp_path, group, *mounts, files=files)) == 3.0


def test_a_mount_point_with_a_space(tmp_path: Path) -> None:
    files = {"c g/cpu.max": "100000 100000"}
    assert cpu_quota(process(tmp_path, "0::/\n", (V2, "/", "c g"), files=files)) == 1.0


def test_a_system_without_cgroups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    assert cpu_quota(process(tmp_path, "garbage\n\n", ("{root} {mount}", "", ""), files={})) is None


@pytest.mark.parametrize(
    ("quota", "cores", "threads"),
    [(None, 8, 8), (0.1, 8, 1), (1.0, 8, 1), (1.01, 8, 2), (7.5, 8, 8), (16.0, 8, 8), (2.0, 1, 1)],
)
def test_threads_are_the_quota_rounded_up_and_never_above_the_cores(
    quota: float | None, cores: int, threads: int
) -> None:
    assert num_threads(quota, cores) == threads


def test_the_cores_are_those_of_the_affinity_mask() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert num_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert num_cores() == len(allowed)
