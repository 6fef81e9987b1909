"""What the limits of control groups leave of the memory."""

from pathlib import Path

import pytest

from blockrank_server.models.engine.cgroups import memory_free_bytes


def process(folder: Path, group: str, mount: str) -> Path:
    (folder / "cgroup").write_text(group)
    (folder / "mountinfo").write_text(mount)
    return folder


@pytest.mark.parametrize(("limit", "free"), [("max", []), ("1000", [750]), ("300", [50])])
def test_version_2(tmp_path: Path, limit: str, free: list[int]) -> None:
    group = tmp_path / "fs"
    group.mkdir()
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text("400\n")
    (group / "memory.stat").write_text("anon 100\nfile 300\ninactive_file 150\n")
    mount = f"30 23 0:26 / {group} rw - cgroup2 cgroup rw\n"
    assert memory_free_bytes(process(tmp_path, "0::/\n", mount)) == free


def test_version_1_with_a_limit_on_the_folder_above(tmp_path: Path) -> None:
    group = tmp_path / "fs"
    (group / "inner").mkdir(parents=True)
    for folder, limit in ((group, 5000), (group / "inner", 900)):
        (folder / "memory.limit_in_bytes").write_text(str(limit))
        (folder / "memory.usage_in_bytes").write_text("1000")
        (folder / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 70\n")
    mount = f"30 23 0:26 / {group} rw - cgroup cgroup rw,memory\n"
    text = "4:memory:/inner\n1:cpu:/elsewhere\n"
    assert memory_free_bytes(process(tmp_path, text, mount)) == [0, 4070]


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert memory_free_bytes(tmp_path) == []
