"""Measures the end-to-end table's rows: the engine on requests of its own, one after another."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, get_args

import torch
from torch.profiler import ProfilerActivity, profile

from blockrank_server.kernels.backend import Backend
from blockrank_server.models.engine.cuda_graphs import can_capture
from blockrank_server.models.engine.engine import Engine
from blockrank_server.models.engine.graph_capture import CudaCapture
from blockrank_server.models.engine.memory import MemoryNeed
from blockrank_server.models.engine.network import Network
from blockrank_server.models.engine.packing import pack
from blockrank_server.models.engine.quantize import quantize
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.quantization.names import Quantization
from gpu_bench.clock import percentiles
from gpu_bench.power import PowerLog
from gpu_bench.texts import EncodeTimer
from gpu_bench.work import Ceilings, network_flops
from gpu_bench.workload import Model, request

Row = dict[str, Any]
DTYPE = torch.bfloat16
_LEAST_CALLS = 5
_NUM_REQUESTS = 16  # of different lengths, taken in turn
# Our kernels; merges end alike.
_OURS = {
    "attention": ("block_attention_kernel",),
    "read": ("span_lse_kernel", "document_scores_kernel"),
    "glue": ("add_rms_norm_kernel", "rotate_kernel", "silu_mul_kernel", "round_attention_kernel"),
}
# cuBLAS's names on Hopper and before it, torch's operator on the CPU.
_PRODUCTS = ("nvjet", "gemm", "xmma", "cutlass", "splitkreduce", "aten::mm", "aten::addmm")


@dataclass(frozen=True, slots=True)
class EngineBench:
    """Measures one variant of the engine on one device.

    Attributes:
        network: has random weights.
        engine: runs it.
        device: runs the engine.
        ceilings: what the device reached in the same run.
        power: watches the card.
        encode_timer: times what the host does before.
    """

    name: str
    model: Model
    network: Network
    engine: Engine
    device: torch.device
    ceilings: Ceilings
    power: PowerLog
    encode_timer: EncodeTimer

    @classmethod
    def make(
        cls,
        name: str,
        model: Model,
        device: torch.device,
        backend: Backend,
        ceilings: Ceilings,
        power: PowerLog,
        *,
        has_graphs: bool = True,
    ) -> "EngineBench":
        """A variant with new weights.

        Args:
            name: bf16, a quantization, or "modules": bf16 by transformers' modules, as the engine
                was before its glue kernels.
            model: gives the shape.
            device: runs it.
            backend: holds the kernels of the device.
            ceilings: what the device reached in the same run.
            power: watches the card.
            has_graphs: runs small batches as graphs where a served engine does.
        """
        network = model.network(device, DTYPE, None if name == "modules" else backend.glue)
        quantize(network, quantization_of(name))
        can_have = name != "modules" and can_capture(device, quantization_of(name))
        capture = CudaCapture(device) if can_have else None
        engine = Engine(network, model.card(), device, backend, None, capture)
        if has_graphs:
            engine.capture_graphs()
        return cls(name, model, network, engine, device, ceilings, power, EncodeTimer(model.card()))

    def row(self, num_documents: int, seconds: float) -> Row:
        """Latencies of one request at a time, and throughput with packing behind the forward.

        Args:
            num_documents: the length of every list.
            seconds: how long latencies are measured, and no fewer than 5 requests.
        """
        requests = self._requests(num_documents)
        before = self._bytes_in_use()
        largest = max(requests, key=lambda each: each.num_tokens)
        for _ in range(2):  # the allocator has then all the blocks the others need
            self.engine.score([largest])
        started = time.monotonic()
        seen = latencies_ms(lambda i: self.engine.score([requests[i % len(requests)]]), seconds)
        power = self.power.since(started)
        batches = [pack([each], self.model.card()) for each in requests]
        flops = fmean(
            sum(network_flops(self.model.config(), self.model.last_layer, batch).values())
            for batch in batches
        )
        tokens = fmean(batch.num_tokens for batch in batches)
        found = percentiles(seen)
        p50_ms = median(seen)
        num_overlapped = max(2, int(seconds / 2 * 1e3 / p50_ms))
        need = MemoryNeed.of(
            self.model.config(), self.model.last_layer, DTYPE, quantization_of(self.name)
        )
        return {
            "variant": self.name,
            "documents": num_documents,
            "tokens": round(tokens),
            "requests": len(seen),
            **{f"{name}_ms": value for name, value in found.items()},
            "tokens_per_s": tokens / p50_ms * 1e3,
            "overlapped_tokens_per_s": _overlapped(self.engine, requests[:num_overlapped]),
            "encode_ms": self.encode_timer.ms(num_documents),
            "start_ms": start_ms(self.engine, requests[0]),
            "tflops": flops / p50_ms / 1e9,
            "share": flops / p50_ms / 1e9 / self.ceilings.tflops,
            "sustained_share": flops / p50_ms / 1e9 / self.ceilings.sustained_tflops,
            **power,
            "weights_gib": need.weights / 2**30,
            "batch_gib": (self._peak_bytes() - before) / 2**30,
            "predicted_gib": need.batch(max(batch.num_tokens for batch in batches)) / 2**30,
        }

    def time_by_kind(self, num_documents: int, p50_ms: float | None) -> Row:
        """Milliseconds of the device's time in attention, read, products, glue and the rest.

        Args:
            num_documents: the length of the list.
            p50_ms: of the same list without the profiler, for the share in which the device works.
        """
        requests = self._requests(num_documents)[:1]
        self.engine.score(requests)
        on_cuda = self.device.type == "cuda"
        activity = ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU
        with profile(activities=[activity]) as found:
            self.engine.score(requests)
        spent: Counter[str] = Counter()
        launches = 0
        for event in found.key_averages():
            us = event.self_device_time_total if on_cuda else event.self_cpu_time_total
            spent[kind_of(event.key)] += us
            launches += event.count if us else 0
        device_ms = sum(spent.values()) / 1e3
        return {
            "variant": self.name,
            "documents": num_documents,
            "device_ms": device_ms,
            "busy": device_ms / p50_ms if p50_ms else None,
            "launches": launches,
        } | {kind: spent[kind] / 1e3 for kind in ("products", *_OURS, "copies", "rest")}

    def _requests(self, num_documents: int) -> list[EncodedRequest]:
        vocab = self.model.config().vocab_size
        return [request(num_documents, vocab, seed) for seed in range(_NUM_REQUESTS)]

    def _bytes_in_use(self) -> int:
        if self.device.type != "cuda":
            return 0
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def _peak_bytes(self) -> int:
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0


def start_ms(engine: Engine, one: EncodedRequest) -> float:
    """Return the host's time until a request is launched, the device being idle before."""
    started = time.perf_counter()
    pending = engine.start([one])
    spent = time.perf_counter() - started
    pending.result()
    return spent * 1e3


def quantization_of(variant: str) -> Quantization:
    """Return the quantization that a variant's name begins with, or "none"."""
    word = variant.partition("-")[0]
    return next((how for how in get_args(Quantization) if how == word), "none")


def kind_of(kernel: str) -> str:
    """Tell what a kernel does, by its name."""
    name = kernel.lower()
    for kind, parts in _OURS.items():
        if any(part in name for part in parts):
            return kind
    if any(part in name for part in _PRODUCTS):
        return "products"
    return "copies" if name.startswith(("memcpy", "memset")) else "rest"


def latencies_ms(score: Callable[[int], object], seconds: float) -> list[float]:
    """Time calls one after another, each given its number, for so long and no fewer than 5."""
    seen: list[float] = []
    ends = time.perf_counter() + seconds
    while len(seen) < _LEAST_CALLS or time.perf_counter() < ends:
        started = time.perf_counter()
        score(len(seen))
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
