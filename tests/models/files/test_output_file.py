"""Files that are written whole or not at all, and paths that cannot be written to."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from blockrank_server.models.files.output_file import replacing, write_text
from blockrank_server.models.files.paths import expand_user, obstacle


def test_a_stop_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_text(path, "before")

    def write_half() -> None:
        with replacing(path) as scratch:
            scratch.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_link_keeps_leading_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "text"


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    code = (
        "import resource, sys, pathlib\n"
        "from blockrank_server.models.files.output_file import write_text\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"try:\n    write_text(pathlib.Path({str(tmp_path / 'f')!r}), 'x' * 2000)\n"
        "except OSError as error:\n    print(error.filename)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'f'}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("file", "file is no folder"),
        ("file/below/it", "file is no folder"),
        ("dangling/below", "dangling is no folder"),
        ("folder", None),
        ("folder/new/one", None),
    ],
)
def test_what_is_in_the_way_of_a_folder(tmp_path: Path, path: str, reason: str | None) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    found = obstacle(tmp_path / path)
    assert found == (reason and f"{tmp_path}/{reason}")


def test_a_home_that_is_not_known_is_no_folder() -> None:
    path = expand_user("~nobody-of-this-name/x")
    assert path == Path("~nobody-of-this-name/x")
    assert re.match("~nobody-of-this-name is no home", obstacle(path) or "")
