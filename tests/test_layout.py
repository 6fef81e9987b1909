"""What a reader may rely on: import order, shipped packages, no shadowed names, file sizes."""

import ast
import re
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("service", "models", "kernels")  # a layer may import itself and those after it
PACKAGE = "blockrank_server"
# Folders and files on top of a layer: each may import itself and what stands in a later row.
FLOORS = {
    "service": (
        {"__main__"},
        {"cli"},
        {"api"},
        {"middleware", "dialects"},
        {"metrics"},
        {"scheduler"},
        {"open_ranker"},
        {"settings"},
        {"errors"},
    ),
    "models": (
        {"calibration"},
        {"training", "evaluation"},
        {"any_ranker"},
        {"remote_ranker"},
        {"ranker", "reasoning_ranker"},
        {"known_documents", "score_scale", "ranker_settings"},
        {"engine", "remote"},
        {"reasoning"},
        {"prompt", "data"},
        {"checkpoint", "quantization", "document_cache"},
        {"files"},
        {"errors"},
    ),
}
OUTER = (
    *("tests", "loadtests", "deploy", "deploy_kit", "gpu_bench", "open_loop"),
    *("remote_kit", "rerank_dashboard", "rerank_search", "rerank_ray"),
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


def modules() -> dict[str, set[str]]:
    """Each module of the layers, by its name, and those of them that it imports."""
    names = {
        ".".join((PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)): path
        for path in sources(*LAYERS)
    }
    return {name: {each for each in members(path) if each in names} for name, path in names.items()}


def members(path: Path) -> Iterator[str]:
    """What a file imports, modules that are named after `from folder import` among them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_no_two_files_import_one_another_in_a_circle() -> None:
    try:
        TopologicalSorter(modules()).prepare()
    except CycleError as error:
        pytest.fail("a circle of imports: " + " <- ".join(error.args[1]))


def test_folders_import_what_is_below_them() -> None:
    floor_of = {
        (layer, unit): place
        for layer, floors in FLOORS.items()
        for place, units in enumerate(floors)
        for unit in units
    }
    wrong, checked = [], 0
    for name, imports in modules().items():
        _, layer, unit, *_ = name.split(".")
        for other in imports:
            _, other_layer, other_unit, *_ = other.split(".")
            if layer in FLOORS and other_layer == layer and other_unit != unit:
                checked += 1
                if floor_of[layer, unit] >= floor_of[layer, other_unit]:
                    wrong.append(f"{name} imports {other}")
    assert checked > 100, "the test looks in the wrong place"
    assert not wrong, "\n".join(wrong)


def test_a_listing_of_service_stays_short() -> None:
    listed = {path.name for path in (ROOT / "service").iterdir()} - {"__pycache__"}
    assert len(listed) <= 12, sorted(listed)


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


def too_large(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    place = path.relative_to(ROOT)
    if (count := len(text.splitlines())) > 250:
        yield f"{place}: {count} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_kernel = any("triton" in ast.unparse(d) for d in node.decorator_list)
            if (count := code_lines(node)) > (80 if is_kernel else 40):
                yield f"{place}: {node.name} has {count} lines"


def test_files_and_functions_stay_small() -> None:
    paths = sources(*LAYERS, "tests", "loadtests", "deploy")
    assert len(paths) > 300, "the test looks in the wrong place"
    offenders = [found for path in paths for found in too_large(path)]
    assert not offenders, "find the noun that wants out:\n" + "\n".join(offenders)


def test_the_workflow_runs_what_ci_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    commands = re.findall(r"^make .+$", script, re.MULTILINE)
    assert commands
    assert re.findall(r"- run: (.+)$", workflow, re.MULTILINE) == commands
