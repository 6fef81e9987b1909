"""Rows of single products of the real shapes, and of copies between host and device."""

import time
from functools import partial

import torch

from gpu_bench.clock import Clock
from gpu_bench.power import PowerLog
from gpu_bench.tables import Part
from gpu_bench.work import Ceilings
from gpu_bench.workload import Model

DTYPES = ("bf16", "fp8")
# The tokens of 10, 100 and 500 documents.
NUM_TOKENS = (1110, 9664, 47_664)


def product_shapes(model: Model) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of the products of one layer."""
    config = model.config()
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    hidden, gated = config.hidden_size, config.intermediate_size
    return {
        "q, k, v": (queries + 2 * keys, hidden),
        "o": (hidden, queries),
        "gate, up": (2 * gated, hidden),
        "down": (hidden, gated),
    }


def add_products(
    part: Part, clock: Clock, model: Model, ceilings: dict[str, Ceilings], power: PowerLog
) -> None:
    """A row for every product of a layer, number of tokens and dtype."""
    sizes = (16, 48) if clock.device.type == "cpu" else NUM_TOKENS
    for num_tokens in sizes:
        for name, (n, k) in product_shapes(model).items():
            for dtype in DTYPES:
                started = time.monotonic()
                call = clock.product(num_tokens, n, k, is_fp8=dtype == "fp8")
                ms = clock.ms([call] * 3)
                tflops = 2 * num_tokens * n * k / ms / 1e9
                part.add(
                    "Products of the real shapes",
                    {
                        "product": name,
                        "dtype": dtype,
                        "tokens": num_tokens,
                        "ms": ms,
                        "tflops": tflops,
                        "share": tflops / ceilings[dtype].tflops,
                    }
                    | power.since(started),
                )


def add_copies(part: Part, clock: Clock, num_bytes: int) -> None:
    """A row for pinned memory each way: what documents kept on the host would cost."""
    device = clock.device
    on_host = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
    on_device = torch.empty(num_bytes, dtype=torch.uint8, device=device)
    for name, target, source in (
        ("to the device", on_device, on_host),
        ("to the host", on_host, on_device),
    ):
        ms = clock.ms([partial(target.copy_, source, non_blocking=True)], as_graph=False)
        part.add(
            "Copies between host and device",
            {"copy": name, "mib": num_bytes / 2**20, "ms": ms, "gbytes": num_bytes / ms / 1e6},
        )
