"""Takes times on a device, and measures its two ceilings the same way."""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch

from gpu_bench.work import Ceilings

Call = Callable[[], object]

# Inputs in turn exceed this, so that no call finds its own in the cache (60 MB on an H200).
_CACHE_BYTES = 256 * 2**20
_MAX_SETS = 512


class Clock:
    """Times calls on one device; on the CPU, for a dry run, by the host's clock.

    Args:
        device: everything runs on it.
        repeats: the median is taken of so many timings.
    """

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device, self._repeats = device, repeats

    def num_sets(self, num_bytes: int) -> int:
        """Count the sets of inputs to rotate among, so that a call finds nothing cached."""
        if self.device.type == "cpu":
            return 2
        return min(_MAX_SETS, 1 + _CACHE_BYTES // max(1, num_bytes))

    def ms(self, calls: Sequence[Call], *, as_graph: bool = True) -> float:
        """Return the median milliseconds of a call, of several over different inputs back to back.

        Args:
            calls: work on inputs of their own, each.
            as_graph: replays them as a graph on CUDA; otherwise the launches of small kernels are
                what is timed.
        """

        def run() -> None:
            for call in calls:
                call()

        run()  # compiles, builds tables
        if self.device.type == "cpu":
            return median(self._host_ms(run) for _ in range(self._repeats)) / len(calls)
        torch.cuda.synchronize(self.device)
        once: Call = run
        if as_graph:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                run()
            once = graph.replay
        once()
        return median(self._device_ms(once) for _ in range(self._repeats)) / len(calls)

    def _device_ms(self, call: Call) -> float:
        make: Any = torch.cuda.Event
        start, stop = make(enable_timing=True), make(enable_timing=True)
        start.record()
        call()
        stop.record()
        stop.synchronize()
        return float(start.elapsed_time(stop))

    def _host_ms(self, call: Call) -> float:
        started = time.perf_counter()
        call()
        return (time.perf_counter() - started) * 1e3

    def ceilings(self, *, product: int, copy_bytes: int) -> Ceilings:
        """Measure a product x product x product bf16 matrix product and a copy, on random data.

        Args:
            product: the number of rows and of columns of the square matrices.
            copy_bytes: so many bytes are read, and as many written.
        """
        a, b = (
            torch.randn(product, product, device=self.device, dtype=torch.bfloat16)
            for _ in range(2)
        )
        out = torch.empty_like(a)
        product_ms = self.ms([lambda: torch.matmul(a, b, out=out)] * 3)
        source = torch.randint(-(2**62), 2**62, (copy_bytes // 8,), device=self.device)
        target = torch.empty_like(source)
        copy_ms = self.ms([lambda: target.copy_(source)] * 3)
        return Ceilings(2 * product**3 / product_ms / 1e9, 2 * copy_bytes / copy_ms / 1e6)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99: the least value that many per cent of all are not above."""
    found = np.percentile(values, [50, 95, 99], method="inverted_cdf")
    return dict(zip(("p50", "p95", "p99"), map(float, found), strict=True))
