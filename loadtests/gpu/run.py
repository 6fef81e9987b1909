"""make gpu: the kernels' tests on the CUDA device, then the tables, in under ten minutes.

    python loadtests/gpu/run.py [--dry-run] [options of gpu_bench]
    python loadtests/gpu/run.py --train [options of gpu_train]

Needs no install and no network: Python with torch, triton, transformers, tokenizers, safetensors,
huggingface_hub, numpy, pyyaml, pytest, pytest-timeout and hypothesis; with --train, accelerate,
peft, pandas, pyarrow, tensorboard and xxhash. The rest comes from .gpu/ (make gpu-carry), and the
package from a tree of links. Red kernel tests: no tables. --train trains the default instead.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
CARRIED = ROOT / ".gpu"
LAYERS = ("service", "models", "kernels")
LIMIT_S = 590.0
# What a run spends after its last row has begun: that row, and the process's end.
_MARGIN_S = 45.0
# No pins hold on a lent machine; a warning of other versions is no failure there.
PYTEST = ["-m", "pytest", "-q", "-Wdefault", "-p", "no:cacheprovider"]
KERNEL_TESTS = ["tests/kernels", "-m", "gpu"]
# The engine; and what only the Triton kernels promise, which runs wherever they do.
OTHER_TESTS = [
    "tests/models/engine/test_on_gpu.py",
    "tests/kernels/test_block_attention_triton.py",
    "tests/kernels/test_span_lse_triton.py",
]
DRY_TESTS = ["tests/kernels/test_segments.py"]


def environment(links: Path) -> dict[str, str]:
    """The process's own, with the package, the benchmark and what was carried on the path."""
    package = links / "blockrank_server"
    package.mkdir()
    for layer in LAYERS:
        (package / layer).symlink_to(ROOT / layer)
    carried = CARRIED / f"cp{sys.version_info.major}{sys.version_info.minor}"
    path = [str(links), str(ROOT / "loadtests" / "gpu")]
    if carried.is_dir():
        path.append(str(carried))
    if inherited := os.environ.get("PYTHONPATH"):
        path.append(inherited)
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
    }


def join_weights(links: Path) -> None:
    """Make the package that holds the default's weights, of the parts that were carried."""
    if parts := sorted(CARRIED.glob("gguf-*")):
        card = json.loads((ROOT / "models" / "cards" / "default.json").read_bytes())
        folder = links / card["weights"]["package"]
        folder.mkdir()
        with (folder / card["weights"]["file"]).open("wb") as file:
            for part in parts:
                file.write(part.read_bytes())


def run(arguments: list[str], variables: dict[str, str], ends: float) -> int:
    """Exit code of python with these arguments; 124 if it was stopped for the time."""
    left = max(1.0, ends - time.monotonic())
    try:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=variables, check=False, timeout=left
        )
    except subprocess.TimeoutExpired:
        return 124
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--dry-run", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--no-tests", action="store_true", help="tables alone, of a green tree")
    parser.add_argument("--train", action="store_true", help="the default's adapter, nothing else")
    args, options = parser.parse_known_args()
    ends = time.monotonic() + LIMIT_S
    codes = []
    with tempfile.TemporaryDirectory() as links:
        variables = environment(Path(links))
        if args.train:
            join_weights(Path(links))
            return run(["-m", "gpu_train", *options], variables, ends)
        if not args.no_tests:
            kernels = DRY_TESTS if args.dry_run else KERNEL_TESTS
            if code := run([*PYTEST, *kernels], variables, ends):
                print("the kernels' tests are red: no tables", file=sys.stderr)
                return code
            others = DRY_TESTS if args.dry_run else OTHER_TESTS
            codes.append(run([*PYTEST, *others], variables, ends))
        seconds = ends - time.monotonic() - _MARGIN_S
        dry = ["--dry-run"] if args.dry_run else []
        bench = ["-m", "gpu_bench", f"--seconds={seconds:.0f}", *dry, *options]
        codes.append(run(bench, variables, ends))
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
