"""One call on a machine with a CUDA device: the kernels tested, everything measured, in 8 minutes.

    python3 loadtests/gpu/run.py [--dry-run] [--out FOLDER] [--wheels FOLDER]

Installs nothing and needs no installed package of this project: the packages that a machine with
torch, triton and transformers lacks are carried as wheels (make gpu-wheels) and unpacked beside it.
Each step is a process with a limit of its own, so that what hangs or kills the device takes its own
step with it. Results are written after every row. Red tests end nothing; they stamp the report.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIMIT_S = 480.0
# What a section may spend after its last row has begun.
_MARGIN_S = 12.0
_LAYERS = ("service", "models", "kernels")
# torch and CUDA may be of other versions than constraints.txt has: their warnings are no failure.
# Verbose, so that a run that is ended in the middle says what was green.
_PYTEST = ("-m", "pytest", "-v", "--tb=short", "-Wdefault", "-pno:cacheprovider")
# Whatever runs on a device: marked so, or for the Triton kernels wherever they run.
_TESTS = (
    *("tests/kernels", "tests/models/engine/test_on_gpu.py"),
    *("tests/models/engine/test_disk_tier_on_gpu.py", "tests/models/engine/test_graphs_on_gpu.py"),
    "-kcuda or triton or gpu or scores",
    *("--ignore=tests/kernels/test_launch_config.py", "--ignore=tests/kernels/test_backend.py"),
)
_DRY_TESTS = ("tests/kernels/test_segments.py",)


class Step(NamedTuple):
    """One process: what python runs, and for how long at most."""

    name: str
    arguments: Sequence[str]
    limit_s: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--out", type=Path, default=ROOT / ".gpu", help="gets the report")
    parser.add_argument("--wheels", type=Path, default=ROOT / ".gpu/wheels")
    parser.add_argument("--only", nargs="+", help="tests, or sections of gpu_bench")
    parser.add_argument("--seconds", type=float, default=LIMIT_S, help="limit of all of it")
    args = parser.parse_args()
    folder = args.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.json"), folder / "output.txt"):
        old.unlink(missing_ok=True)
    ends = time.monotonic() + args.seconds
    codes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as site:
        environment = prepare(Path(site), args.wheels)
        for step in steps(folder, is_dry=args.dry_run):
            if args.only and step.name not in args.only:
                continue
            limit_s = min(step.limit_s, ends - time.monotonic())
            codes[step.name] = run(step, limit_s, folder / "output.txt", environment)
            write_report(folder, codes, is_dry=args.dry_run)
    print((folder / "report.md").read_text(encoding="utf-8"))
    return next((code for code in codes.values() if code), 0)


def steps(folder: Path, *, is_dry: bool) -> list[Step]:
    """List the processes of a run, the most needed first."""
    bench = ["-m", "gpu_bench", "--folder", str(folder)]
    if is_dry:
        sections = ["graphs", "products", "bf16", "fp8", "kernels", "rivals", "flex"]
        options = ["--dry-run", "--documents", "2", "3"]
        return [
            Step("tests", [*_PYTEST, *_DRY_TESTS], 75),
            Step("sections", [*bench, *options, "--", *sections], LIMIT_S),
        ]
    limits = {"bf16": 85, "fp8": 80, "graphs": 70, "products": 30, "kernels": 50, "rivals": 50}
    limits |= {"modules": 30, "flex": 120}
    # Most of the tests' time is Triton's compiler, on one core each.
    workers = ["--numprocesses=12"] if find_spec("xdist") else []
    return [
        Step("tests", [*_PYTEST, *_TESTS, *workers], 75),
        *(
            Step(name, [*bench, f"--seconds={limit_s - _MARGIN_S}", name], limit_s)
            for name, limit_s in limits.items()
        ),
    ]


def prepare(site: Path, wheels: Path) -> dict[str, str]:
    """Lay out the package and unpack wheels in a folder; return the variables that find them."""
    package = site / "blockrank_server"
    package.mkdir()
    for layer in _LAYERS:
        (package / layer).symlink_to(ROOT / layer)
    for wheel in sorted(wheels.glob("*.whl")):
        if find_spec(wheel.name.partition("-")[0]):  # as the module is called, of each of them
            continue
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    path = [str(site), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return (
        {"OMP_WAIT_POLICY": "PASSIVE"}
        | os.environ
        | {
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
            # One kernel is compiled: sixteen workers would only import torch.
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "true",
        }
    )


def run(step: Step, limit_s: float, log: Path, environment: Mapping[str, str]) -> int:
    """Run one process, its output into the log and shown; return its code, 124 past its limit."""
    if limit_s <= 0:
        return 124
    command, started = [sys.executable, *step.arguments], time.monotonic()
    with log.open("a", encoding="utf-8") as file:
        file.write(f"\n=== {step.name}\n")
        file.flush()
        begun = file.tell()
        try:
            code = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                timeout=limit_s,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = 124
    with log.open(encoding="utf-8", errors="replace") as file:
        file.seek(begun)
        print(file.read()[-4000:])
    print(f"{step.name}: code {code} after {time.monotonic() - started:.0f} s", flush=True)
    return code


def write_report(folder: Path, codes: Mapping[str, int], *, is_dry: bool) -> None:
    """Write report.md from what the sections have written so far."""
    sys.path.insert(0, str(HERE))
    from gpu_bench import tables  # noqa: PLC0415 - stdlib alone, found only now

    parts = []
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime):
        with contextlib.suppress(ValueError):  # its process was killed while it wrote
            parts.append(json.loads(path.read_text(encoding="utf-8")))
    title = f"{'Dry run' if is_dry else 'GPU'}, {datetime.now(UTC).date().isoformat()}"
    (folder / "report.md").write_text(tables.report(title, stamps(codes), parts), encoding="utf-8")


def stamps(codes: Mapping[str, int]) -> list[str]:
    """Say what a reader must know of the processes before any number."""
    found = []
    if code := codes.get("tests"):
        why = "did not end in time" if code == 124 else f"are red (code {code})"
        found.append(f"THE TESTS {why.upper()}: these numbers are not results.")
    for name, code in codes.items():
        if code and name != "tests":
            found.append(f"{name} ended with code {code}: its rows may be incomplete.")
    return found


if __name__ == "__main__":
    sys.exit(main())
