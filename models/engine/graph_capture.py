"""Captures the graphs of a network on a CUDA device."""

import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from blockrank_server.models.engine.cuda_graphs import BUCKETS, Capture
from blockrank_server.models.engine.fused_network import FusedNetwork
from blockrank_server.models.errors import CheckpointError

_log = logging.getLogger(__name__)


class CudaCapture:
    """Captures work as graphs of one memory pool, which run one after another on one stream.

    Each finds its memory where the others had theirs, so nothing may be handed from graph to graph
    but in buffers. Work runs once before it is captured: then Triton's kernels are compiled, those
    of cuBLAS loaded, and its workspace is there.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture what is launched on the current stream; the device is current."""
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self._stream):
            work()
            # As torch.cuda.graph does, but for emptying the allocator's cache every time.
            # Threads that read or write documents may use the device meanwhile.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                work()
            except BaseException:
                with suppress(RuntimeError):  # the capture has failed: what comes of that
                    graph.capture_end()
                raise
            graph.capture_end()
        current.wait_stream(self._stream)
        graph.replay()  # the first replay uploads the graph
        replay: Callable[[], None] = graph.replay
        return replay


@contextmanager
def _no_collection() -> Iterator[None]:
    """Let nothing be destroyed by Python's collector meanwhile: a device may refuse that."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def capture_graphs(network: FusedNetwork, capture: Capture) -> None:
    """Capture the graphs of small batches, on the thread that runs them; the device is current.

    Raises:
        CheckpointError: they could not be captured.
    """
    started_s = time.perf_counter()
    try:
        with torch.inference_mode(), _no_collection():
            network.capture(capture)
    except RuntimeError as error:
        raise CheckpointError(
            f"CUDA graphs could not be captured, cuda_graphs=off serves without them: {error}"
        ) from error
    if next(network.parameters()).device.type == "cuda":
        torch.cuda.empty_cache()  # what pieces took before they were captured
    seconds = time.perf_counter() - started_s
    _log.info("CUDA graphs for up to %d tokens captured in %.1f s", BUCKETS[-1], seconds)
