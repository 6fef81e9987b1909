"""What serving needs no library of the extra "train" for."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORT_ALL = """
import importlib, sys
for name in ("datasets", "peft", "tensorboard"):
    sys.modules[name] = None  # as if it were not installed
for name in sys.argv[1:]:
    importlib.import_module(name)
assert not [name for name in sys.modules if name.startswith("blockrank_server.models.training")]
"""


def test_everything_but_training_is_imported_without_the_extra() -> None:
    modules = [
        ".".join(("blockrank_server", *path.relative_to(ROOT).with_suffix("").parts))
        for layer in ("kernels", "models", "service")
        for path in sorted((ROOT / layer).rglob("*.py"))
        if path.stem != "__main__" and ROOT / "models/training" not in path.parents
    ]
    assert len(modules) > 100
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *modules], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
