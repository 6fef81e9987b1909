"""Compiles the kernels for cards this machine need not have; prints what they take as JSON.

Run by test_launch_config.py in a process of its own, for Triton's compiler and its interpreter
exclude each other. Compiling proves that the code fits the card, neither that it is right nor fast.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from blockrank_server.kernels import (
    block_attention_fp8_triton,
    block_attention_merge_triton,
    block_attention_triton,
    document_scores_triton,
    glue_triton,
    span_lse_triton,
)
from blockrank_server.kernels.launch_config import (
    Arch,
    block_attention_config,
    row_config,
    span_lse_config,
)

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
CAPABILITIES: dict[int, Arch] = {80: "ampere", 90: "hopper"}
DIMS, GROUPS = (64, 128), range(1, 9)
HEADS = [(64, 3), (128, 4)]  # head_dim, group: SmolLM2; Mistral, Llama and Qwen3
HIDDEN_SIZES = (576, 1024, 3584, 4096)  # SmolLM2, Qwen3-0.6B, Qwen2.5-7B, Mistral-7B
GATED_SIZES = (1536, 14_336, 18_944)  # SmolLM2, Mistral-7B, Qwen2.5-7B
ROTATED = [(64, 12), (128, 40)]  # head_dim, queries and keys: SmolLM2, Mistral
DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16"}
INT_POINTERS = (
    *("tiles_ptr", "ranges_ptr", "merges_ptr", "chunks_ptr", "groups_ptr", "order_ptr"),
    *("spans_ptr", "rows_ptr"),
)
FP32_POINTERS = ("part_ptr", "part_lse_ptr", "lse_ptr", "scale_ptr", "scores_ptr")
# Without a table of rows, and with one.
KINDS: dict[str, dict[str, Any]] = {"": {"rows_ptr": None}, "_rows": {}}


class Variant(NamedTuple):
    """One way a card launches a kernel."""

    label: str  # kernel-dtype-sizes-card
    module: str
    kernel: str
    constants: dict[str, Any]
    options: dict[str, int]


def type_of(name: str, dtype: str, constants: dict[str, Any]) -> str:
    if not name.endswith("_ptr"):
        return "fp32" if name.startswith("scale") or name == "eps" else "i32"
    if name in INT_POINTERS:
        return "*i32"
    if name == "reads_ptr":
        return "*i64"
    if name == "out_ptr" and constants.get("FP8"):
        return "*fp8e4nv"
    return "*fp32" if name in FP32_POINTERS else f"*{dtype}"


def compiled(variant: Variant) -> dict[str, int]:
    _, dtype, *_, card = variant.label.split("-")
    kernel = getattr(sys.modules[variant.module], variant.kernel)
    constants, capability, options = variant.constants, int(card[2:]), variant.options
    names = [name for name in kernel.arg_names if name not in constants]
    # What the launcher finds in practice: tensors begin, and heads and tokens lie, at multiples
    # of 16 elements. Without it there are no vector loads.
    aligned = [name for name in names if name.endswith("_ptr") or name.startswith("stride_")]
    types: dict[str, Any] = {"FP8": int("fp8" in variant.label)}
    source = ASTSource(
        fn=kernel,
        signature={
            name: "constexpr" if name in constants else type_of(name, dtype, types)
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


def attention_variants() -> Iterator[Variant]:
    """Block attention of every group of heads in bf16; what else depends on heads for a few."""
    module, merge = block_attention_triton, block_attention_merge_triton
    for capability, dim, group in product(CAPABILITIES, DIMS, GROUPS):
        for dtype, name in DTYPES.items():
            arch, is_common = CAPABILITIES[capability], (dim, group) in HEADS
            if name == "fp16" and not is_common:
                continue
            tile = block_attention_config(arch, dim, dtype, group)
            heads: dict[str, Any] = {"GROUP": group, "HEAD_DIM": dim, "BLOCK_M": tile.block_m}
            label = f"{name}-dim{dim}-group{group}-sm{capability}"
            for kind, rows in KINDS.items():
                yield Variant(
                    f"attention{kind}-{label}",
                    module.__name__,
                    "block_attention_kernel",
                    heads | {"BLOCK_N": tile.block_n} | rows,
                    {"num_warps": tile.num_warps, "num_stages": tile.num_stages},
                )
            if is_common:
                yield Variant(
                    f"merge-{label}",
                    merge.__name__,
                    "merge_block_attention_kernel",
                    heads | {"ROWS": merge.MERGE_ROWS},
                    {"num_warps": 4},
                )
                yield from lse_variants(arch, dim, dtype, label)


def lse_variants(arch: Arch, dim: int, dtype: torch.dtype, label: str) -> Iterator[Variant]:
    module, lse = span_lse_triton, span_lse_config(arch, dim, dtype)
    for kind, rows in KINDS.items():
        yield Variant(
            f"lse{kind}-{label}",
            module.__name__,
            "span_lse_kernel",
            {"HEAD_DIM": dim, "BLOCK_M": lse.block_m, "BLOCK_N": lse.block_n} | rows,
            {"num_warps": lse.num_warps, "num_stages": lse.num_stages},
        )
    yield Variant(
        f"lse_merge-{label}",
        module.__name__,
        "merge_span_lse_kernel",
        {"BLOCK_M": module.MERGE_ROWS, "BLOCK_B": module.MERGE_CHUNKS},
        {"num_warps": 4},
    )


def glue_variants() -> Iterator[Variant]:
    """What stands between products, in bf16; float8 is for cards of 8.9 and newer."""
    for capability in CAPABILITIES:
        for fp8 in (0, 1) if capability >= 89 else (0,):
            for size in HIDDEN_SIZES:
                yield row_variant("add_rms_norm", size, capability, {"ADD": 1, "FP8": fp8})
            for size in GATED_SIZES:
                yield row_variant("silu_mul", size, capability, {"FP8": fp8})
        for (dim, heads), norm in product(ROTATED, (0, 1)):
            sizes: dict[str, Any] = {
                "HEADS": heads,
                "QUERIES": heads * 3 // 4,
                "HEAD_DIM": dim,
                "NORM": norm,
            }
            yield Variant(
                f"rotate{'_norm' * norm}-bf16-dim{dim}-sm{capability}",
                glue_triton.__name__,
                "rotate_kernel",
                sizes | {"BLOCK_H": glue_triton.ROTARY_HEADS},
                {"num_warps": glue_triton.ROTARY_WARPS},
            )


def rounding_variants() -> Iterator[Variant]:
    """Rounding the attention's result, for the heads of SmolLM2 and Mistral."""
    module, tile = block_attention_fp8_triton, 128
    for dim, group, num_heads in ((64, 3, 9), (128, 4, 32)):
        row = row_config(num_heads * dim)
        heads: dict[str, Any] = {
            "GROUP": group,
            "HEAD_DIM": dim,
            "BLOCK_M": tile,
            "SIZE": num_heads * dim,
        }
        yield Variant(
            f"round_attention_fp8-bf16-dim{dim}-group{group}-sm90",
            module.__name__,
            "round_attention_kernel",
            heads | {"BLOCK": row.block, "BLOCK_X": module.BLOCK_X},
            {"num_warps": module.WARPS * row.num_warps},
        )


def row_variant(name: str, size: int, capability: int, constants: dict[str, Any]) -> Variant:
    """A kernel in which one program holds one row."""
    row, suffix = row_config(size), "_fp8" * constants.get("FP8", 1)
    return Variant(
        f"{name}{suffix}-bf16-size{size}-sm{capability}",
        glue_triton.__name__,
        f"{name}_kernel",
        {"SIZE": size, "BLOCK": row.block} | constants,
        {"num_warps": row.num_warps},
    )


def score_variants() -> Iterator[Variant]:
    module = document_scores_triton
    for capability, over_all, geometric in product(CAPABILITIES, (0, 1), (0, 1)):
        how = f"{'all' if over_all else 'documents'}-{'geometric' if geometric else 'mean'}"
        sizes: dict[str, Any] = {"BLOCK_R": module.BLOCK_R, "BLOCK_N": module.BLOCK_N}
        yield Variant(
            f"scores-fp32-{how}-sm{capability}",
            module.__name__,
            "document_scores_kernel",
            sizes | {"OVER_ALL": over_all, "GEOMETRIC": geometric, "SUM_HEADS": 0},
            {"num_warps": module.NUM_WARPS},
        )


if __name__ == "__main__":
    every = [
        *attention_variants(),
        *rounding_variants(),
        *glue_variants(),
        *score_variants(),
    ]
    with ProcessPoolExecutor(2) as pool:
        found = pool.map(compiled, every)
        print(json.dumps(dict(zip([each.label for each in every], found, strict=True))))
