"""What a reader may rely on: import direction, shipped packages, no shadowed names, file sizes."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("service", "models", "kernels")  # a layer may import itself and those after it
PACKAGE = "blockrank_server"
OUTER = (
    *("tests", "loadtests", "deploy", "deploy_kit", "gpu_bench", "rerank_dashboard"),
    *("rerank_search", "rerank_ray"),
)


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_down_only(layer: str) -> None:
    allowed = LAYERS[LAYERS.index(layer) :]
    checked = 0
    for path in sources(layer):
        for name in imported(path):
            if name.partition(".")[0] == PACKAGE:
                assert name.split(".")[1] in allowed, f"{path} imports {name}"
                checked += 1
    assert checked, f"{layer} imports nothing of its own: the test looks in the wrong place"


@pytest.mark.parametrize("folder", [*LAYERS, "tests", "loadtests", "deploy"])
def test_bare_folder_names_are_never_imported(folder: str) -> None:
    for path in sources(folder):
        for name in imported(path):
            assert name.partition(".")[0] not in LAYERS, f"{path} imports {name}"


def test_nothing_imports_the_outer_folders() -> None:
    for path in sources(*LAYERS):
        for name in imported(path):
            assert name.partition(".")[0] not in OUTER, f"{path}: {name}"


def test_no_folder_is_a_package_of_its_own() -> None:
    # kernels/__init__.py would shadow the PyPI package that transformers imports.
    assert not [path for f in ("tests", "deploy") for path in (ROOT / f).rglob("__init__.py")]
    assert not [path for layer in LAYERS for path in (ROOT / layer).rglob("__init__.py")]


def test_every_folder_with_code_is_shipped() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    on_disk = {
        ".".join((PACKAGE, *path.parent.relative_to(ROOT).parts)) for path in sources(*LAYERS)
    }
    assert set(settings["packages"]) == on_disk
    assert settings["package-dir"] == {
        package: package.removeprefix(f"{PACKAGE}.").replace(".", "/") for package in on_disk
    }


def test_every_data_file_is_shipped() -> None:
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for layer in LAYERS:
        patterns = shipped["package-data"][f"{PACKAGE}.{layer}"]
        files = [
            path
            for path in (ROOT / layer).rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc", ".md")
        ]
        lost = [p for p in files if not any(p in (ROOT / layer).glob(g) for g in patterns)]
        assert not lost, f"missing from the wheel: {lost}"


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring, which is to be as long as it needs."""
    first = function.body[0]
    is_documented = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if is_documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


@pytest.mark.parametrize(
    "path",
    sources(*LAYERS, "tests", "loadtests", "deploy"),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250, "find the noun that wants out"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_kernel = any("triton" in ast.unparse(d) for d in node.decorator_list)
            assert code_lines(node) <= (80 if is_kernel else 40), node.name
