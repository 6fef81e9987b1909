"""Chooses how the Triton kernels are launched, and refuses what they cannot take.

Tile sizes are chosen by architecture, head_dim and dtype. The shared memory of a program must fit
the card: 227 KiB on Hopper and on datacentre Blackwell, 163 KiB on an A100, 99 KiB on the other
cards of compute capability 8.x and 12.x; one row serves all but the first, so it stays within 99.
Registers spilt to memory cost more than a smaller tile gains. tests/kernels/test_launch_config.py
compiles the rows the cards use and holds them to both.
"""

from dataclasses import dataclass
from typing import Literal

import torch

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

Arch = Literal["hopper", "ampere", "interpreter"]


@dataclass(frozen=True, slots=True)
class BlockAttentionConfig:
    """Launch constants of block attention.

    Attributes:
        block_m: rows of a tile; a row is one query token of one of the heads sharing a KV head.
        block_n: keys per step.
        num_warps: counts the warps, of 32 threads each.
        num_stages: key and value blocks that are being loaded at a time.
        split_keys: fewest keys worth a program of their own when a segment's keys are split. A
            split writes and reads back block_m fp32 rows, so its keys should outweigh that.
    """

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int
    split_keys: int


@dataclass(frozen=True, slots=True)
class SpanLseConfig:
    """Launch constants of the span log-sum-exp.

    Attributes:
        block_m: rows of a tile; a row is one signal token of one of the heads sharing a KV head.
        block_n: keys per step.
        num_warps: counts the warps, of 32 threads each.
        num_stages: key blocks that are being loaded at a time.
    """

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int


@dataclass(frozen=True, slots=True)
class RowConfig:
    """Launch constants of a kernel in which one program holds one row.

    Attributes:
        block: places of the row, a power of two.
        num_warps: counts the warps, of 32 threads each.
    """

    block: int
    num_warps: int


def arch_of(device: torch.device) -> Arch:
    """Return the row of the tables below for a device; a CPU runs the kernels in the interpreter.

    Raises:
        ValueError: a card older than Ampere, or no NVIDIA card.
    """
    if device.type == "cpu":
        return "interpreter"
    if device.type != "cuda":
        raise ValueError(f"the Triton kernels need a CUDA device, got {device}")
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        raise ValueError(f"compute capability 8.0 or newer is needed, {device} has {major}.{minor}")
    return "hopper" if major in (9, 10) else "ampere"


def block_attention_config(
    arch: Arch, head_dim: int, dtype: torch.dtype, group: int = 1
) -> BlockAttentionConfig:
    """Return the launch constants of block attention for one head_dim, dtype and group of heads."""
    if arch == "interpreter":  # small enough that a test's few tokens fill several tiles
        return BlockAttentionConfig(32, 16, num_warps=4, num_stages=1, split_keys=64)
    if dtype == torch.float32:  # no tensor cores: a choice for tests, made to fit the registers
        sizes = 16, 16, 4, 1
    elif head_dim > 128:
        sizes = 64, 32, 8, 2
    elif arch == "hopper":
        # The fastest of eight on an H200, heads of 64 and of 128, 100 and 500 documents: three
        # programs or more share a multiprocessor. 128 rows of 8 warps took a third longer at 128,
        # half as long again at 64 (loadtests/results).
        sizes = 64, 32, 4, 3
    elif head_dim > 64 and group & (group - 1):
        # Such a group spills with 128 rows, if only where keys have a table of rows.
        sizes = 64, 64, 8, 2
    else:
        # 128 rows halve the reads of K and V next to 64; 8 warps, since 4 spill. A third block
        # spills at head_dim 128.
        sizes = 128, 64, 8, 3 if head_dim <= 64 else 2
    return BlockAttentionConfig(*sizes, split_keys=512)


def span_lse_config(arch: Arch, head_dim: int, dtype: torch.dtype) -> SpanLseConfig:
    """Return the launch constants of the span log-sum-exp for one head_dim and dtype."""
    if arch == "interpreter":
        return SpanLseConfig(16, 16, num_warps=4, num_stages=1)
    if dtype == torch.float32:
        return SpanLseConfig(16, 16, num_warps=4, num_stages=1)
    # Bound by reading keys, so rows are nearly free: 64 are one wgmma, and one program reads a key
    # once for 16 signal tokens of 4 heads.
    return SpanLseConfig(64, 64, num_warps=4, num_stages=2 if head_dim > 128 else 3)


def row_config(size: int) -> RowConfig:
    """Return the launch constants for rows of one size: 16 places a thread, 32 in long rows."""
    block = 1 << (size - 1).bit_length()
    return RowConfig(block, num_warps=min(16, max(1, block // 512)))


def check_kernel_inputs(**tensors: torch.Tensor) -> None:
    """Refuse what the Triton kernels cannot take though the torch path can.

    Raises:
        ValueError: naming the tensor, what was expected and what it is.
    """
    for name, tensor in tensors.items():
        dim = tensor.shape[-1]
        if tensor.dtype not in _DTYPES:
            raise ValueError(f"{name} must be float32, bfloat16 or float16, got {tensor.dtype}")
        if dim & (dim - 1) or not 16 <= dim <= 256:
            raise ValueError(f"{name}: head_dim must be a power of two in 16 .. 256, got {dim}")
        if tensor.stride(-1) != 1:
            raise ValueError(f"{name}: the last axis needs stride 1, got {tensor.stride(-1)}")
        if torch.is_grad_enabled() and tensor.requires_grad:
            raise ValueError(f"{name} wants a gradient, the Triton kernels have none: use torch")
