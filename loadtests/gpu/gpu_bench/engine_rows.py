"""Measures the end-to-end table's rows: the engine on requests of its own, one after another."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, get_args

import torch
from torch.profiler import ProfilerActivity, profile

from blockrank_server.kernels.backend import Backend
from blockrank_server.models.engine.engine import Engine
from blockrank_server.models.engine.memory import MemoryNeed
from blockrank_server.models.engine.packing import pack
from blockrank_server.models.engine.quantize import quantize
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.quantization.names import Quantization
from gpu_bench.clock import percentiles
from gpu_bench.work import Ceilings, network_flops
from gpu_bench.workload import Model, request

Row = dict[str, Any]
DTYPE = torch.bfloat16
_NUM_REQUESTS = 16  # of different lengths, taken in turn
_OURS = {"attention": "block_attention_kernel", "read": "span_lse_kernel"}  # merges, too
# cuBLAS's names on Hopper and before it, torch's operator on the CPU.
_PRODUCTS = ("nvjet", "gemm", "xmma", "cutlass", "splitkreduce", "aten::mm", "aten::addmm")


@dataclass(frozen=True, slots=True)
class EngineBench:
    """Measures one variant of the engine on one device.

    Attributes:
        engine: has random weights.
    """

    name: str
    model: Model
    engine: Engine
    device: torch.device
    ceilings: Ceilings

    @classmethod
    def make(
        cls, name: str, model: Model, device: torch.device, backend: Backend, ceilings: Ceilings
    ) -> "EngineBench":
        """Make a variant with new weights: plain or quantized, and either of them compiled if
        asked.

        Args:
            name: begins with the quantization, if any; "fused" in it asks for torch.compile.
        """
        network = model.network(device, DTYPE)
        quantize(network, quantization_of(name))
        if "fused" in name:
            network.fuse_elementwise()
        engine = Engine(network, model.card(), device, backend)
        return cls(name, model, engine, device, ceilings)

    def row(self, num_documents: int, seconds: float, least: int) -> Row:
        """Measure latencies of single requests, and throughput with packing behind the forward.

        Args:
            num_documents: the length of every list.
            seconds: how long latencies are measured.
            least: so many requests are timed, however long they take.
        """
        requests = self._requests(num_documents)
        before = self._bytes_in_use()
        largest = max(requests, key=lambda each: each.num_tokens)
        for _ in range(2):  # the allocator has then all the blocks the others need
            self.engine.score([largest])
        seen = _latencies_ms(self.engine, requests, seconds, least)
        batches = [pack([each], self.model.card()) for each in requests]
        flops = fmean(
            sum(network_flops(self.model.config(), self.model.last_layer, batch).values())
            for batch in batches
        )
        tokens = fmean(batch.num_tokens for batch in batches)
        found = percentiles(seen)
        need = MemoryNeed.of(
            self.model.config(), self.model.last_layer, DTYPE, quantization_of(self.name)
        )
        return {
            "variant": self.name,
            "documents": num_documents,
            "tokens": round(tokens),
            "requests": len(seen),
            **{f"{name}_ms": value for name, value in found.items()},
            "tokens_per_s": tokens / found["p50"] * 1e3,
            "overlapped_tokens_per_s": _overlapped(self.engine, requests),
            "start_ms": self._start_ms(requests[0]),
            "tflops": flops / found["p50"] / 1e9,
            "share": flops / found["p50"] / 1e9 / self.ceilings.tflops,
            "weights_gib": need.weights / 2**30,
            "batch_gib": (self._peak_bytes() - before) / 2**30,
            "predicted_gib": need.batch(max(batch.num_tokens for batch in batches)) / 2**30,
        }

    def time_by_kind(self, num_documents: int) -> Row:
        """Return shares of the device's time: attention, read, matrix products and the rest."""
        requests = self._requests(num_documents)[:1]
        self.engine.score(requests)
        on_cuda = self.device.type == "cuda"
        activity = ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU
        with profile(activities=[activity]) as found:
            self.engine.score(requests)
        spent: Counter[str] = Counter()
        for event in found.key_averages():
            us = event.self_device_time_total if on_cuda else event.self_cpu_time_total
            spent[kind_of(event.key)] += us
        total = sum(spent.values()) or 1  # a profiler that is not let at the device sees nothing
        return {"variant": self.name, "documents": num_documents, "device_ms": total / 1e3} | {
            kind: spent[kind] / total
            for kind in ("products", "attention", "read", "copies", "rest")
        }

    def _requests(self, num_documents: int) -> list[EncodedRequest]:
        vocab = self.model.config().vocab_size
        return [request(num_documents, vocab, seed) for seed in range(_NUM_REQUESTS)]

    def _start_ms(self, one: EncodedRequest) -> float:
        """Return the host's time until a request is launched, the device being idle before."""
        started = time.perf_counter()
        pending = self.engine.start([one])
        spent = time.perf_counter() - started
        pending.result()
        return spent * 1e3

    def _bytes_in_use(self) -> int:
        if self.device.type != "cuda":
            return 0
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def _peak_bytes(self) -> int:
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0


def quantization_of(variant: str) -> Quantization:
    """Return the quantization that a variant's name begins with, or "none"."""
    word = variant.partition("-")[0]
    return next((how for how in get_args(Quantization) if how == word), "none")


def kind_of(kernel: str) -> str:
    """Tell what a kernel does, by its name."""
    name = kernel.lower()
    for kind, part in _OURS.items():
        if part in name:
            return kind
    if any(part in name for part in _PRODUCTS):
        return "products"
    return "copies" if name.startswith(("memcpy", "memset")) else "rest"


def _latencies_ms(
    engine: Engine, requests: Sequence[EncodedRequest], seconds: float, least: int
) -> list[float]:
    seen: list[float] = []
    ends = time.perf_counter() + seconds
    while len(seen) < least or time.perf_counter() < ends:
        started = time.perf_counter()
        engine.score([requests[len(seen) % len(requests)]])
        seen.append((time.perf_counter() - started) * 1e3)
    return seen


def _overlapped(engine: Engine, requests: Sequence[EncodedRequest]) -> float:
    """Measure tokens a second where a request is packed and launched during another's forward."""
    started = time.perf_counter()
    pending = engine.start(requests[:1])
    for each in requests[1:]:
        following = engine.start([each])
        pending.result()
        pending = following
    pending.result()
    return sum(each.num_tokens for each in requests) / (time.perf_counter() - started)
