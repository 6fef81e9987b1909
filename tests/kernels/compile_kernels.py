"""Compiles the kernels for cards this machine need not have; prints what they take as JSON.

Run by test_launch_config.py in a process of its own, for Triton's compiler and its interpreter
exclude each other. Compiling proves that the code fits the card, neither that it is right nor fast.
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from blockrank_server.kernels import (
    block_attention_merge_triton,
    block_attention_triton,
    span_lse_triton,
)
from blockrank_server.kernels.launch_config import Arch, block_attention_config, span_lse_config

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
CAPABILITIES: dict[int, Arch] = {80: "ampere", 90: "hopper"}
HEADS = [(64, 3), (128, 4)]  # head_dim, group: SmolLM2; Mistral, Llama and Qwen3
DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16"}
INT_POINTERS = (
    "rows_ptr",
    "tiles_ptr",
    "ranges_ptr",
    "merges_ptr",
    "chunks_ptr",
    "groups_ptr",
    "order_ptr",
)
NO_ROWS = {"rows_ptr": None}
FP32_POINTERS = ("part_ptr", "part_lse_ptr", "lse_ptr")


def type_of(name: str, dtype: str) -> str:
    if not name.endswith("_ptr"):
        return "fp32" if name.startswith("scale") else "i32"
    if name in (*INT_POINTERS, "spans_ptr"):
        return "*i32"
    return "*fp32" if name in FP32_POINTERS else f"*{dtype}"


def compiled(
    kernel: Any, dtype: str, constants: dict[str, int | None], capability: int, **options: int
) -> dict[str, int]:
    names = [name for name in kernel.arg_names if name not in constants]
    # What the launcher finds in practice: tensors begin, and heads and tokens lie, at multiples
    # of 16 elements. Without it there are no vector loads.
    aligned = [name for name in names if name.endswith("_ptr") or name.startswith("stride_")]
    source = ASTSource(
        fn=kernel,
        signature={
            name: "constexpr" if name in constants else type_of(name, dtype)
            for name in kernel.arg_names
        },
        constexprs=constants,
        attrs={(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    binary = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        usage, sass = (
            subprocess.run(
                [CUOBJDUMP, option, file.name], capture_output=True, text=True, check=True
            ).stdout
            for option in ("--dump-resource-usage", "-sass")
        )
    return {
        "registers": int(re.findall(r"REG:(\d+)", usage)[0]),
        "spilt_bytes": int(re.findall(r"STACK:(\d+)", usage)[0]),
        "shared_bytes": binary.metadata.shared,
        "threads": 32 * binary.metadata.num_warps,
        "HGMMA": len(re.findall(r"\bHGMMA\b", sass)),
        "HMMA": len(re.findall(r"\bHMMA\b", sass)),
        "LDGSTS": len(re.findall(r"\bLDGSTS\b", sass)),
    }


def variants(
    capability: int, dtype: torch.dtype, dim: int, group: int
) -> Iterator[tuple[Any, ...]]:
    """(label, kernel, constants, launch options) of what a card of these heads launches."""
    arch, name = CAPABILITIES[capability], DTYPES[dtype]
    attention = block_attention_config(arch, dim, dtype)
    lse = span_lse_config(arch, dim, dtype)
    heads = {"GROUP": group, "HEAD_DIM": dim, "BLOCK_M": attention.block_m}
    label = f"{name}-dim{dim}-group{group}-sm{capability}"
    for kind, rows in (("attention", NO_ROWS), ("attention_rows", {})):
        yield (
            f"{kind}-{label}",
            block_attention_triton.block_attention_kernel,
            heads | {"BLOCK_N": attention.block_n} | rows,
            {"num_warps": attention.num_warps, "num_stages": attention.num_stages},
        )
    yield (
        f"merge-{label}",
        block_attention_merge_triton.merge_block_attention_kernel,
        heads | {"ROWS": block_attention_merge_triton.MERGE_ROWS},
        {"num_warps": 4},
    )
    for kind, rows in (("lse", NO_ROWS), ("lse_rows", {})):
        yield (
            f"{kind}-{label}",
            span_lse_triton.span_lse_kernel,
            {"HEAD_DIM": dim, "BLOCK_M": lse.block_m, "BLOCK_N": lse.block_n} | rows,
            {"num_warps": lse.num_warps, "num_stages": lse.num_stages},
        )
    yield (
        f"lse_merge-{label}",
        span_lse_triton.merge_span_lse_kernel,
        {"BLOCK_M": span_lse_triton.MERGE_ROWS, "BLOCK_B": span_lse_triton.MERGE_CHUNKS},
        {"num_warps": 4},
    )


if __name__ == "__main__":
    found = {}
    for capability, dtype, (dim, group) in product(CAPABILITIES, DTYPES, HEADS):
        for label, kernel, constants, options in variants(capability, dtype, dim, group):
            found[label] = compiled(kernel, DTYPES[dtype], constants, capability, **options)
    print(json.dumps(found))
