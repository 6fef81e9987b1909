"""deploy/image/: the image is pinned as the project is, with hashes and known licences."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "deploy" / "image"
LISTS = ("requirements", "weights", "build", "torch-cpu", "torch-cuda")


def same_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path: Path) -> dict[str, str]:
    found = re.findall(
        r"^([\w.-]+)==([^\s;\\]+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    return {same_name(name): version for name, version in found}


PINNED = pins(ROOT / "constraints.txt")


@pytest.mark.parametrize("name", LISTS)
def test_every_package_of_a_list_has_a_hash(name: str) -> None:
    text = (IMAGE / f"{name}.txt").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE), flags=re.M)
    entries = [entry for entry in entries if entry.strip()]
    assert len(entries) == len(pins(IMAGE / f"{name}.txt")) > 0
    assert all("--hash=sha256:" in entry for entry in entries)


def test_versions_are_those_that_are_tested() -> None:
    for name in ("requirements", "torch-cuda"):
        for package, version in pins(IMAGE / f"{name}.txt").items():
            assert PINNED.get(package, version) == version, package
    assert pins(IMAGE / "torch-cpu.txt") == {"torch": f"{PINNED['torch']}+cpu"}


def test_everything_the_server_needs_is_there_and_nothing_of_the_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {same_name(re.split(r"[<>=]", each)[0]) for each in project["dependencies"]}
    held = set(pins(IMAGE / "requirements.txt"))
    assert needed - {"torch"} <= held
    assert not {"pytest", "ruff", "locust", "torch", "triton"} & held


def test_the_weights_are_those_of_make_setup() -> None:
    [[name, version]] = pins(IMAGE / "weights.txt").items()
    assert f"DEFAULT_WEIGHTS := {name}=={version}\n" in (ROOT / "Makefile").read_text()


def test_every_package_has_its_licence_on_the_list() -> None:
    lines = (IMAGE / "LICENCES.md").read_text(encoding="utf-8").splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    listed = {same_name(row[0]): row[1] for row in rows}
    assert all(row[2] not in ("", "UNKNOWN") for row in rows)
    for name in ("requirements", "weights"):
        for package, version in pins(IMAGE / f"{name}.txt").items():
            # setuptools: torch wants it; pip-licenses leaves it out.
            assert listed.get(package) == version or package == "setuptools"
