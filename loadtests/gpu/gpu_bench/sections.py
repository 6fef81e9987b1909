"""The sections of a run, each with its own file: what is measured, in the order of its worth."""

import platform
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from statistics import median

import torch
import transformers

from blockrank_server.kernels.backend import Backend, choose_backend
from gpu_bench import workload
from gpu_bench.baselines import DenseRanker
from gpu_bench.clock import Clock
from gpu_bench.engine_rows import EngineBench
from gpu_bench.graph_rows import GraphBench
from gpu_bench.kernel_rows import TILES, KernelBench
from gpu_bench.power import PowerLog
from gpu_bench.products import add_copies, add_products
from gpu_bench.reuse_rows import SHARES, ReuseBench
from gpu_bench.tables import Part, Row
from gpu_bench.texts import TEXTS
from gpu_bench.work import Ceilings

VARIANTS = ("bf16", "fp8", "modules", "int8", "int4")
SECTIONS = ("graphs", "products", *VARIANTS, "kernels", "rivals", "flex")
ROW_SECONDS = 2.0
REUSE_SECONDS = 1.0
REUSED = ("bf16", "fp8")
_DENSE_REPEATS = 3


class Bench:
    """Measures sections on this machine's device until the time is up.

    Args:
        folder: gets a file for each section.
        seconds: no new row is begun after that.
        is_dry: takes tiny shapes on the CPU by the torch path, so that nothing but the device is
            new.
        documents: the lengths of lists, instead of those of each section.
    """

    def __init__(
        self, folder: Path, seconds: float, *, is_dry: bool, documents: Sequence[int] | None
    ) -> None:
        self._folder, self._is_dry, self._documents = folder, is_dry, documents
        self._ends = time.monotonic() + seconds
        self._device = torch.device("cpu" if is_dry else "cuda")
        self._clock = Clock(self._device, repeats=2 if is_dry else 20)
        self._model = workload.TINY_MODEL if is_dry else workload.MISTRAL_7B
        self._power = PowerLog()
        self._found: dict[str, Ceilings] = {}

    def run(self, section: str) -> bool:
        """Measure one section; a failure is written down, and what comes after it goes on.

        Returns:
            Whether nothing failed.
        """
        part = Part(self._folder / f"{section}.json")
        work: dict[str, Callable[[Part], None]] = {
            "graphs": self._graphs,
            "products": self._products,
            "kernels": self._kernels,
            "rivals": self._rivals,
            "flex": self._flex,
        }
        if not self._is_dry:
            self._power.start()
        try:
            part.guarded("the machine", lambda: part.conditions.update(self._machine()))
            part.guarded(section, lambda: work.get(section, partial(self._engine, section))(part))
        finally:
            self._power.stop()
            part.write()
        return not part.failures

    @cached_property
    def _backend(self) -> Backend:
        return choose_backend(self._device)

    def _machine(self) -> dict[str, str]:
        name = "a CPU, dry run" if self._is_dry else torch.cuda.get_device_name()
        return {
            "device": name,
            "model": f"{self._model.name}, cut at layer {self._model.last_layer}, bf16",
            "requests": f"one at a time, token ids given; {workload.LENGTHS}",
            "encode": TEXTS,
            "kernels": f"{self._backend.name}; median of graph replays, inputs not in cache",
            "versions": f"torch {torch.__version__}, CUDA {torch.version.cuda}, transformers "
            f"{transformers.__version__}, Python {platform.python_version()}",
        }

    def _ceilings(self, part: Part, dtype: str, seconds: float = 3.0) -> Ceilings:
        if dtype in self._found:
            return self._found[dtype]
        size, copied = (64, 2**16) if self._is_dry else (8192, 4 * 2**30)
        found = self._clock.ceilings(
            product=size,
            copy_bytes=copied,
            seconds=0.0 if self._is_dry else seconds,
            is_fp8=dtype == "fp8",
        )
        part.conditions[f"ceilings of {dtype}, measured beside its rows"] = (
            f"{found.tflops:.0f} TFLOP/s in a burst ({size}-cube), {found.sustained_tflops:.0f} "
            f"after {seconds:.1f} s; copy {found.gbytes:.0f} GB/s, read and written"
        )
        part.write()
        self._found[dtype] = found
        return found

    def _products(self, part: Part) -> None:
        ceilings = {dtype: self._ceilings(part, dtype) for dtype in ("bf16", "fp8")}
        add_products(part, self._clock, self._model, ceilings, self._power)
        add_copies(part, self._clock, 2**16 if self._is_dry else 2**28)

    def _graphs(self, part: Part) -> None:
        for dtype in REUSED:
            part.guarded(f"graphs of {dtype}", partial(self._graphs_of, dtype, part))

    def _graphs_of(self, dtype: str, part: Part) -> None:
        ceilings = self._ceilings(part, dtype, seconds=0.5)
        bench = EngineBench.make(
            *(f"{dtype}-eager", self._model, self._device, self._backend, ceilings, self._power),
            has_graphs=False,
        )
        eager = GraphBench.make(bench, self._backend, self._documents)
        eager.add_rows(partial(self._row, part))
        graphed, said = eager.captured(dtype)
        part.conditions[f"graphs of {dtype}"] = said
        graphed.add_rows(partial(self._row, part))

    def _engine(self, variant: str, part: Part) -> None:
        ceilings = self._ceilings(part, "fp8" if variant == "fp8" else "bf16")
        bench = EngineBench.make(
            variant, self._model, self._device, self._backend, ceilings, self._power
        )
        p50_ms: dict[int, float] = {}

        def row(count: int) -> Row:
            found = bench.row(count, 0.0 if self._is_dry else ROW_SECONDS)
            p50_ms[count] = found["p50_ms"]
            return found

        def kinds(count: int) -> Row:
            return bench.time_by_kind(count, p50_ms.get(count))

        first = self._documents or ((100,) if variant == "modules" else (100, 500, 10))
        others = () if self._documents or variant == "modules" else (20, 50, 200)
        for title, measure, counts in (
            ("Engine, end to end", row, first),
            ("Where the device's time goes", kinds, first),
            ("Engine, end to end", row, others),
        ):
            for count in counts:
                what = f"{variant}, {count} documents: {title.lower()}"
                self._row(part, title, what, partial(measure, count))
        if variant in REUSED:
            part.guarded(f"{variant}, known documents", lambda: self._known(part, bench))

    def _known(self, part: Part, bench: EngineBench) -> None:
        reuse = ReuseBench.make(bench, self._backend)
        lists = [(count, share) for count in self._documents or (100,) for share in SHARES]
        lists += [(count, 1.0) for count in self._documents or (10, 500)]
        seconds = 0.0 if self._is_dry else REUSE_SECONDS
        for count, share in lists:
            what = f"{bench.name}, {count} documents, {share:.0%} known"
            self._row(
                part, "Documents known before", what, partial(reuse.row, count, share, seconds)
            )

    def _kernels(self, part: Part) -> None:
        bench = self._kernel_bench(part)
        for heads, count in product(self._heads(), self._documents or (100, 500, 10)):
            for measure in (bench.attention, bench.read):
                what = f"{measure.__name__} of {heads.name}, {count} documents"
                title = "Kernels, one layer, one request"
                self._row(part, title, what, partial(measure, heads, count))
        title = "Tiles of block attention"
        for heads, count, config in product(self._heads(), self._documents or (100, 500), TILES):
            what = f"{config}, {heads.name}, {count} documents"
            self._row(part, title, what, partial(bench.tile, heads, count, config))

    def _rivals(self, part: Part) -> None:
        self._dense(part)
        # A dense mask of 500 documents takes gigabytes.
        for count in self._documents or (100, 10, 500):
            self._beside(part, count, ["flash", "sdpa"] if count <= 100 else ["flash"])

    def _flex(self, part: Part) -> None:
        """A section of its own: it compiles for every length, most of a minute."""
        for count in self._documents or (100,):
            self._beside(part, count, ["flex"])

    def _beside(self, part: Part, count: int, names: Sequence[str]) -> None:
        bench = self._kernel_bench(part)
        for heads in self._heads():
            what = f"{', '.join(names)} of {heads.name}, {count} documents"
            measure = partial(bench.rivals, part, heads, count, names)
            self._row(part, "Attention beside others", what, measure)

    def _dense(self, part: Part) -> None:
        ranker = DenseRanker(self._model.config(), self._device)

        def measure(count: int) -> Row:
            one = workload.request(count, self._model.config().vocab_size, seed=0)
            ranker.rank(one)
            seen = []
            for _ in range(_DENSE_REPEATS):
                started = time.perf_counter()
                ranker.rank(one)
                seen.append((time.perf_counter() - started) * 1e3)
            return {"documents": count, "tokens": one.num_tokens, "dense_ms": median(seen)}

        title = "Plain transformers, all layers"
        for count in self._documents or (10, 100, 500):
            self._row(part, title, f"dense prefill, {count} documents", partial(measure, count))

    def _kernel_bench(self, part: Part) -> KernelBench:
        ceilings = self._ceilings(part, "bf16")
        return KernelBench(self._clock, self._backend, ceilings, self._model.card())

    def _heads(self) -> tuple[workload.Heads, ...]:
        return (workload.TINY,) if self._is_dry else (workload.MISTRAL, workload.SMOLLM2)

    def _row(self, part: Part, title: str, what: str, measure: Callable[[], Row]) -> None:
        """Add a row to a table, guarded; leave it out where the time is up."""
        if time.monotonic() > self._ends:
            part.note(f"left out, the time was up: {what}")
        else:
            part.guarded(what, lambda: part.add(title, measure()))
