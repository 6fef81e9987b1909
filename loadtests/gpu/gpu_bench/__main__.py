"""Measures sections on this machine's CUDA device: python -m gpu_bench, by loadtests/gpu/run.py."""

import argparse
import sys
from pathlib import Path

from gpu_bench.sections import SECTIONS, Bench


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="+", choices=SECTIONS)
    parser.add_argument("--folder", type=Path, required=True, help="gets a file for each section")
    parser.add_argument("--seconds", type=float, default=400, help="no new row after that")
    parser.add_argument("--dry-run", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--documents", type=int, nargs="+", help="instead of each section's own")
    args = parser.parse_args()
    bench = Bench(args.folder, args.seconds, is_dry=args.dry_run, documents=args.documents)
    num_failed = sum(not bench.run(section) for section in args.sections)
    return 1 if num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
