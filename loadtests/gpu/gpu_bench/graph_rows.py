"""Rows of small batches with CUDA graphs and without, of one network, in one process."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from blockrank_server.kernels.backend import Backend
from blockrank_server.models.engine.cuda_graphs import can_capture
from blockrank_server.models.engine.memory import MemoryNeed
from gpu_bench.engine_rows import DTYPE, EngineBench, Row, quantization_of
from gpu_bench.reuse_rows import ReuseBench

# (title, what, measure)
AddRow = Callable[[str, str, Callable[[], Row]], None]
COUNTS = (10, 20, 50)
KNOWN = (1.0, 0.95, 0.9)
KNOWN_OF = 100
SECONDS = 0.4


@dataclass(frozen=True, slots=True)
class GraphBench:
    """Measures small batches without graphs first, then with them.

    Attributes:
        bench: has no graphs yet.
        reuse: its network's, with a memory for documents.
        counts: lengths of lists.
        known_of: length of the lists of which documents are known.
        seconds: how long a row is measured.
    """

    bench: EngineBench
    reuse: ReuseBench
    counts: Sequence[int]
    known_of: Sequence[int]
    seconds: float

    @classmethod
    def make(
        cls, bench: EngineBench, backend: Backend, counts: Sequence[int] | None
    ) -> "GraphBench":
        """Put a memory for documents beside a bench without graphs.

        Args:
            counts: of a dry run, which takes no time.
        """
        reuse = ReuseBench.make(bench, backend)
        if counts:
            return cls(bench, reuse, counts, counts, 0.0)
        return cls(bench, reuse, COUNTS, (KNOWN_OF,), SECONDS)

    def add_rows(self, add: AddRow) -> None:
        """Add the rows of the network as it is: the same whether it has graphs or not."""
        p50_ms: dict[int, float] = {}

        def row(count: int) -> Row:
            found = self.bench.row(count, self.seconds)
            p50_ms[count] = found["p50_ms"]
            return found

        name = self.bench.name
        for count in self.counts:
            add("Engine, end to end", f"{name}, {count} documents", partial(row, count))
        for count in self.known_of:
            for share in KNOWN:
                what = f"{name}, {count} documents, {share:.0%} known"
                known = partial(self.reuse.row, count, share, self.seconds)
                add("Documents known before", what, known)
        first = self.counts[0]
        add(
            "Where the device's time goes",
            f"{name}, where the time of {first} documents goes",
            lambda: self.bench.time_by_kind(first, p50_ms.get(first)),
        )

    def captured(self, name: str) -> tuple["GraphBench", str]:
        """Capture the graphs of the network; say how long that took, and how much memory."""
        bench, device = replace(self.bench, name=name), self.bench.device
        is_any = can_capture(device, quantization_of(name))
        before, started = _free_bytes(device), time.perf_counter()
        bench.engine.capture_graphs()
        seconds, taken = time.perf_counter() - started, before - _free_bytes(device)
        model = bench.model
        need = MemoryNeed.of(
            *(model.config(), model.last_layer, DTYPE, quantization_of(name)), has_graphs=is_any
        )
        said = f"captured in {seconds:.1f} s; {taken / 2**30:.2f} GiB of the device, predicted "
        after = replace(self, bench=bench, reuse=replace(self.reuse, bench=bench))
        return after, f"{said}{need.graphs / 2**30:.2f}" if is_any else "none on this device"


def _free_bytes(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]
