"""Times on a device, and its ceilings measured the same way."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch

from blockrank_server.kernels.glue import round_rows
from blockrank_server.models.quantization.fp8 import multiply
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
        once = self._once(calls, as_graph=as_graph)
        timer = self._host_ms if self.device.type == "cpu" else self._device_ms
        once()
        return median(timer(once) for _ in range(self._repeats)) / len(calls)

    def sustained_ms(self, calls: Sequence[Call], seconds: float) -> float:
        """Mean milliseconds of a call while calls run for so long, of the second half of it.

        A card that reaches its power limit lowers its clock: a burst does not show that.
        """
        once = self._once(calls, as_graph=True)
        timer = self._host_ms if self.device.type == "cpu" else self._device_ms
        seen, ends = [timer(once)], time.perf_counter() + seconds
        while time.perf_counter() < ends:
            seen.append(timer(once))
        late = seen[len(seen) // 2 :]
        return sum(late) / len(late) / len(calls)

    def _once(self, calls: Sequence[Call], *, as_graph: bool) -> Call:
        def run() -> None:
            for call in calls:
                call()

        run()  # compiles, builds tables
        if self.device.type == "cpu":
            return run
        torch.cuda.synchronize(self.device)
        if not as_graph:
            return run
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph.replay

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

    def product(self, m: int, n: int, k: int, *, is_fp8: bool) -> Call:
        """A product of random [m, k] and [n, k] in bf16 or float8, as a linear layer has it."""
        x, weight = (
            torch.randn(size, k, device=self.device, dtype=torch.bfloat16) for size in (m, n)
        )
        if not is_fp8:
            return partial(torch.nn.functional.linear, x, weight)
        rounded, (values, scales) = round_rows(x), round_rows(weight)
        return partial(multiply, rounded, type(rounded)(values, scales.T.contiguous()))

    def ceilings(self, *, product: int, copy_bytes: int, seconds: float, is_fp8: bool) -> Ceilings:
        """Measure a square matrix product, in a burst and for some time, and a copy.

        Args:
            product: the number of rows and of columns of the square matrices.
            copy_bytes: so many bytes are read, and as many written.
            seconds: how long the sustained product runs.
            is_fp8: takes the product in float8 instead of bf16.
        """
        call = self.product(product, product, product, is_fp8=is_fp8)
        burst_ms = self.ms([call] * 3)
        sustained_ms = self.sustained_ms([call] * 10, seconds)
        source = torch.randint(-(2**62), 2**62, (copy_bytes // 8,), device=self.device)
        target = torch.empty_like(source)
        copy_ms = self.ms([lambda: target.copy_(source)] * 3, as_graph=False)
        flops = 2 * product**3
        return Ceilings(
            flops / burst_ms / 1e9, flops / sustained_ms / 1e9, 2 * copy_bytes / copy_ms / 1e6
        )


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50, p95 and p99: the least value that many per cent of all are not above.

    Of fewer than a hundred values there is no p99.
    """
    p50, p95, p99 = map(float, np.percentile(values, [50, 95, 99], method="inverted_cdf"))
    return {"p50": p50, "p95": p95, "p99": p99 if len(values) >= 100 else None}
