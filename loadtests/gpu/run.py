"""Runs the kernels' tests on this machine's CUDA device, then the tables, in under ten minutes.

    .venv/bin/python loadtests/gpu/run.py [--dry-run] [options of gpu_bench]

Needs the package and its development tools installed (make setup). If the kernels' tests fail,
nothing is measured.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT_S = 590.0
# What a run spends after its last row has begun: that row, and the process's end.
_MARGIN_S = 45.0
# torch and CUDA may be of other versions than constraints.txt has: their warnings are no failure.
PYTEST = ["-m", "pytest", "-q", "-Wdefault"]
KERNEL_TESTS = ["tests/kernels", "-m", "gpu"]
# The engine; and what only the Triton kernels promise, which runs wherever they do.
OTHER_TESTS = ["tests/models/engine/test_on_gpu.py", "tests/kernels/triton"]
DRY_TESTS = ["tests/kernels/test_segments.py"]


def environment() -> dict[str, str]:
    """Return this process's variables, with the benchmark on the path and without the network."""
    path = [str(ROOT / "loadtests" / "gpu"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
    }


def run(arguments: list[str], ends: float) -> int:
    """Run python with these arguments and return its exit code; 124 if its time was over."""
    left = max(1.0, ends - time.monotonic())
    try:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment(), check=False, timeout=left
        )
    except subprocess.TimeoutExpired:
        return 124
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--dry-run", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--no-tests", action="store_true", help="tables alone, of a green tree")
    args, options = parser.parse_known_args()
    ends = time.monotonic() + LIMIT_S
    codes = []
    if not args.no_tests:
        if code := run([*PYTEST, *(DRY_TESTS if args.dry_run else KERNEL_TESTS)], ends):
            print("the kernels' tests are red: no tables", file=sys.stderr)
            return code
        codes.append(run([*PYTEST, *(DRY_TESTS if args.dry_run else OTHER_TESTS)], ends))
    seconds = ends - time.monotonic() - _MARGIN_S
    dry = ["--dry-run"] if args.dry_run else []
    codes.append(run(["-m", "gpu_bench", f"--seconds={seconds:.0f}", *dry, *options], ends))
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
