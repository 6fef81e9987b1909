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
        f"blockrank_server.{path.parent.name}.{path.stem}"
        for layer in ("kernels", "models", "service")
        for path in sorted((ROOT / layer).glob("*.py"))
        if path.stem != "__main__"
    ]
    assert len(modules) > 50
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *modules], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
