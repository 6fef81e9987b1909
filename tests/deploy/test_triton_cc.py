"""What stands in for a C compiler in the CUDA image, without an image, a GPU or a driver."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

IMAGE = Path(__file__).parents[2] / "deploy" / "image"
Ended = subprocess.CompletedProcess[str]
pytestmark = pytest.mark.gcc
LOAD = "from triton.backends.nvidia.driver import CudaUtils; print(callable(CudaUtils().launch))"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As /opt/blockrank-server in the image."""
    folder = tmp_path_factory.mktemp("prefix")
    launcher = [sys.executable, str(IMAGE / "triton_launcher.py"), str(folder / "lib" / "triton")]
    subprocess.run(launcher, check=True)
    (folder / "bin").mkdir()
    shutil.copy(IMAGE / "triton-cc", folder / "bin")
    for program in ("sh", "cmp", "cp"):  # all that is on PATH: no compiler
        found = shutil.which(program)
        assert found is not None
        (folder / "bin" / program).symlink_to(found)
    return folder


@pytest.fixture(scope="module")
def driver(prefix: Path) -> Path:
    """A folder with a library of the functions of the driver's that the launcher links to."""
    source = (prefix / "lib" / "triton" / "driver.c").read_text(encoding="utf-8")
    functions = sorted(set(re.findall(r"\bcu[A-Z]\w+", source)))
    code = "\n".join(f"int {name}(void) {{ return 0; }}" for name in functions)
    library = ["-Wl,-soname,libcuda.so.1", "-o", str(prefix / "libcuda.so.1"), "-x", "c", "-"]
    subprocess.run(["gcc", "-shared", "-fPIC", *library], input=code.encode(), check=True)
    return prefix


def load(prefix: Path, driver: Path, cache: Path, **more: str) -> Ended:
    environment = {
        "PATH": str(prefix / "bin"),
        "TRITON_CACHE_DIR": str(cache),
        "TRITON_LIBCUDA_PATH": str(driver),
        "LD_LIBRARY_PATH": str(driver),
    }
    return subprocess.run(
        [os.path.abspath(sys.executable), "-c", LOAD],
        env=environment | more,
        capture_output=True,
        text=True,
        check=False,
    )


def test_triton_loads_its_launcher_without_a_compiler(
    prefix: Path, driver: Path, tmp_path: Path
) -> None:
    without = load(prefix, driver, tmp_path / "without")
    assert "Failed to find C compiler" in without.stderr
    found = load(prefix, driver, tmp_path / "with", CC=str(prefix / "bin" / "triton-cc"))
    assert found.stdout.strip() == "True", found.stderr


def test_any_other_source_is_refused(prefix: Path, tmp_path: Path) -> None:
    source = tmp_path / "other.c"
    source.write_text("int other;\n")
    asked = [str(prefix / "bin" / "triton-cc"), str(source), "-o", str(tmp_path / "other.so")]
    refused = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "no compiler" in refused.stderr
    assert not (tmp_path / "other.so").exists()
