"""Measures the kernel table and the end-to-end table on a CUDA device: python -m gpu_bench.

With --dry-run it runs a tiny shape on the CPU by the torch path, so that nothing but the device is
new.
"""

import argparse
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch
import transformers

from blockrank_server.kernels.backend import choose_backend
from gpu_bench import tables, workload
from gpu_bench.baselines import DenseRanker
from gpu_bench.clock import Clock
from gpu_bench.engine_rows import EngineBench
from gpu_bench.kernel_rows import KernelBench

RESULTS = Path(__file__).parents[2] / "results"
VARIANTS = ("plain", "fused", "fp8-fused", "fp8", "int8", "int4", "int8-fused", "int4-fused")
MOST_PROMISING = VARIANTS[:3]
DENSE_REPEATS = 3


class Bench:
    """Measures everything, in the order of its worth, until the time is up."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._is_dry, self._documents, self._variants = args.dry_run, args.documents, args.variants
        self._with_baselines = not args.engine_only
        self._ends = time.monotonic() + args.seconds
        self._device = torch.device("cpu" if self._is_dry else "cuda")
        self._backend = choose_backend(self._device)
        self._clock = Clock(self._device, repeats=2 if self._is_dry else 20)
        self._model = workload.TINY_MODEL if self._is_dry else workload.MISTRAL_7B
        size, copied = (64, 2**16) if self._is_dry else (8192, 4 * 2**30)
        self._ceilings = self._clock.ceilings(product=size, copy_bytes=copied)
        self._plain_ms: dict[int, float] = {}
        date = datetime.now(UTC).date().isoformat()
        gpu = "dry-run" if self._is_dry else torch.cuda.get_device_name()
        label = f"_{args.label}" if args.label else ""
        self._report = tables.BenchReport(
            f"gpu_{gpu.replace(' ', '-')}_{date}{label}",
            f"{gpu}, {date}",
            {
                "model": f"{self._model.name}, cut at layer {self._model.last_layer}, bf16",
                "requests": f"one at a time, token ids given; {workload.LENGTHS}",
                "ceilings measured here": f"{self._ceilings.tflops:.0f} TFLOP/s ({size}-cube bf16 "
                f"product), {self._ceilings.gbytes:.0f} GB/s (copy of {copied / 2**30:.0f} GiB, "
                "read and written)",
                "kernels": f"{self._backend.name}; median of graph replays, inputs not in cache",
                "versions": f"torch {torch.__version__}, CUDA {torch.version.cuda}, transformers "
                f"{transformers.__version__}, Python {platform.python_version()}",
            },
            args.results,
        )

    def run(self) -> None:
        """Write every table."""
        first, *others = self._variants
        self._engine(first)
        if self._with_baselines:
            self._kernels()
            self._dense()
        for variant in others:
            self._engine(variant)
        print(self._report.markdown())

    def _is_late(self, what: str) -> bool:
        late: bool = time.monotonic() > self._ends
        if late:
            self._report.note(f"left out, the time was up: {what}")
        return late

    def _kernels(self) -> None:
        counts = self._documents[:2] if self._is_dry else (10, 100, 500)
        models = (workload.TINY,) if self._is_dry else (workload.MISTRAL, workload.SMOLLM2)
        bench = KernelBench(self._clock, self._backend, self._ceilings, self._model.card())
        for heads in models:
            for count in counts:
                for measure in (bench.attention, bench.read):
                    if self._is_late(f"{measure.__name__} of {heads.name}, {count} documents"):
                        continue
                    row = measure(heads, count)
                    self._report.add("Kernels, one layer, one request", tables.KERNELS, row)
                    for name in ("sdpa", "flex"):
                        if failed := row.get(f"{name}_failed"):
                            self._report.note(f"{name}, {heads.name}, {count}: {failed}")

    def _engine(self, variant: str) -> None:
        if self._is_late(variant):
            return
        bench = EngineBench.make(variant, self._model, self._device, self._backend, self._ceilings)
        seconds, least = (0.0, 2) if self._is_dry else (5.0, 100 if variant == "plain" else 20)
        for count in self._documents:
            if self._is_late(f"{variant}, {count} documents"):
                return
            row = bench.row(count, seconds, least)
            self._report.add("Engine, end to end", tables.ENGINE, row)
            if variant == "plain":
                self._plain_ms[count] = row["p50_ms"]
        for count in self._documents:
            kinds = bench.time_by_kind(count)
            self._report.add("Where the device's time goes", tables.KINDS, kinds)

    def _dense(self) -> None:
        if self._is_late("dense prefill and decoding"):
            return
        ranker = DenseRanker(self._model.config(), self._device)
        for count in self._documents:
            if self._is_late(f"dense prefill and decoding, {count} documents"):
                return
            one = workload.request(count, self._model.config().vocab_size, seed=0)
            ranker.rank(one)
            seen = []
            for _ in range(DENSE_REPEATS):
                started = time.perf_counter()
                ranker.rank(one)
                seen.append((time.perf_counter() - started) * 1e3)
            row = {"documents": count, "tokens": one.num_tokens, "dense_ms": median(seen)}
            if count in self._plain_ms:
                row["ratio"] = row["dense_ms"] / self._plain_ms[count]
            self._report.add("Plain transformers, all layers", tables.DENSE, row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--documents", type=int, nargs="+", default=[10, 20, 50, 100, 200, 500])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=MOST_PROMISING)
    parser.add_argument("--engine-only", action="store_true", help="neither kernels nor baselines")
    parser.add_argument("--label", default="", help="end of the result's name, for a second run")
    parser.add_argument("--seconds", type=float, default=400, help="no new row after that")
    parser.add_argument("--results", type=Path, default=RESULTS)
    Bench(parser.parse_args()).run()


if __name__ == "__main__":
    main()
