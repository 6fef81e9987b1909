"""Estimates how much device memory a checkpoint and a batch take, from the config alone.

It is for CUDA, where a batch that does not fit fails; the CPU is not checked. Each run of
loadtests/gpu compares it with the measured peak, and a test with what the CPU's allocator gave.

Axes: C = hidden size, A = query heads x head_dim, B = key/value heads x head_dim, I = the MLP's.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Self

import torch
from transformers import PretrainedConfig

from blockrank_server.models.checkpoint.model_config import head_shape
from blockrank_server.models.engine.cgroups import memory_free_bytes
from blockrank_server.models.engine.cuda_graphs import BUCKETS
from blockrank_server.models.engine.host_memory import process_and_machine_bytes
from blockrank_server.models.engine.quantize import scratch_bytes, weight_bytes
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.quantization.names import Quantization

# For what the allocator rounds up and cannot reuse, and for partial results of split tails.
_MARGIN = 1.1
# For cuBLAS workspaces and loaded kernels.
_FIXED_BYTES = 256 * 2**20
# Of one captured graph of a few kernels, in the driver.
_GRAPH_BYTES = 2**19
# cuBLAS and its half for single products take one more each where graphs are captured.
_WORKSPACE_BYTES = 64 * 2**20
_FP32_BYTES, _FP8_BYTES = 4, 1


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Counts the bytes that a checkpoint needs on the device.

    Attributes:
        weights: hold the layers kept, as quantized.
        per_token: hold the activations of one token of a batch, at the worst moment of a layer.
        scratch: make the largest quantized weight whole, once in a batch.
        graphs: are taken by CUDA graphs, from the warm-up on.
    """

    weights: int
    per_token: int
    scratch: int = 0
    graphs: int = 0

    @classmethod
    def of(
        cls,
        config: PretrainedConfig,
        last_layer: int | None,
        dtype: torch.dtype,
        quantization: Quantization,
        *,
        has_graphs: bool = False,
    ) -> Self:
        """Estimate the need of a checkpoint that is cut at its last read layer, or whole.

        Args:
            config: must be of a supported family.
            last_layer: 0-based; None counts all layers, the final norm and two rows of the head.
            dtype: is that of weights and activations.
            quantization: is for the linear layers of whole layers.
            has_graphs: small batches run as CUDA graphs.
        """
        itemsize, sizes = dtype.itemsize, _linear_sizes(config)
        num_whole = config.num_hidden_layers if last_layer is None else last_layer
        in_layer = sum(weight_bytes(quantization, *size, itemsize) for size in sizes)
        per_token = _token_bytes(config, itemsize, quantization)
        graphs = 0
        if has_graphs:
            in_graphs = _graph_token_bytes(config, itemsize, quantization) + _MARGIN * per_token
            num_graphs = len(BUCKETS) * (num_whole + 1)
            graphs = _WORKSPACE_BYTES + int(BUCKETS[-1] * in_graphs) + num_graphs * _GRAPH_BYTES
        return cls(
            weights=_num_others(config, last_layer) * itemsize + num_whole * in_layer,
            per_token=per_token,
            scratch=scratch_bytes(quantization, max(map(prod, sizes)), itemsize),
            graphs=graphs,
        )

    def batch(self, num_tokens: int) -> int:
        """Estimate the bytes that one batch needs besides the weights."""
        return (
            _FIXED_BYTES + self.scratch + self.graphs + int(_MARGIN * self.per_token * num_tokens)
        )

    def max_tokens(self, free_bytes: int) -> int:
        """Estimate the most tokens of a batch that fit; 0 or less where none does.

        Args:
            free_bytes: are free on the device before the weights are there.
        """
        return int((free_bytes - self.weights - self.batch(0)) / (_MARGIN * self.per_token))


def free_bytes(device: torch.device) -> int | None:
    """Count what the process can still have on the device; None on the CPU, which is unchecked."""
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def used_and_total_bytes(device: torch.device) -> tuple[int, int]:
    """Count the device's memory, whoever uses it; on the CPU, this process's and the machine's."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total - free, total
    return process_and_machine_bytes()


def available_bytes(device: torch.device) -> int:
    """Count what the process can still have: on the CPU, as machine and control groups allow."""
    if (free := free_bytes(device)) is not None:
        return free
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    kilobytes = dict(line.split(":") for line in lines)["MemAvailable"].split()[0]
    return min(int(kilobytes) * 1024, *memory_free_bytes())


def check_memory(
    need: MemoryNeed, free: int | None, max_batch_tokens: int | None, kept: int = 0
) -> int | None:
    """Return the most tokens of one batch that fit the device, None where that is not known.

    Args:
        need: is that of the checkpoint.
        free: bytes that are free before the weights are there, or None.
        max_batch_tokens: tokens that a batch must have room for; None asks only for the weights.
        kept: bytes that documents are kept in.

    Raises:
        CheckpointError: the weights and a batch of that size do not fit.
    """
    if free is None:
        return None
    free -= kept
    fits = need.max_tokens(free)
    if fits < 1:
        raise CheckpointError(
            f"the weights need {_gib(need.weights)} and {_gib(need.batch(0))} beside them, "
            f"the device has {_gib(free)} free"
        )
    if max_batch_tokens is not None and max_batch_tokens > fits:
        raise CheckpointError(
            f"a batch of {max_batch_tokens} tokens needs {_gib(need.batch(max_batch_tokens))} "
            f"beside {_gib(need.weights)} of weights, the device has {_gib(free)} free: "
            f"{fits} tokens fit"
        )
    return fits


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"


def _widths(config: PretrainedConfig) -> tuple[int, int, int, int]:
    """Return hidden size, width of the queries, width of the keys, head_dim."""
    heads, num_kv, head_dim = head_shape(config)
    return config.hidden_size, heads * head_dim, num_kv * head_dim, head_dim


def _linear_sizes(config: PretrainedConfig) -> list[tuple[int, int]]:
    """List outputs and inputs of the linear layers of one whole layer, merged as on CUDA."""
    hidden, queries, keys, _ = _widths(config)
    gated = config.intermediate_size
    attention = [(queries + 2 * keys, hidden), (hidden, queries)]
    return [*attention, (2 * gated, hidden), (hidden, gated)]


def _num_others(config: PretrainedConfig, last_layer: int | None) -> int:
    """Count the weights outside the linear layers of whole layers: they are never quantized."""
    hidden, queries, keys, head_dim = _widths(config)
    # Qwen2's projections have biases always, Llama's where its config says so.
    is_qwen2 = config.model_type == "qwen2"
    has_bias = is_qwen2 or getattr(config, "attention_bias", False)
    read = hidden + (queries + keys) * has_bias  # of every layer: its norm, and biases of q and k
    if config.model_type == "qwen3":
        read += 2 * head_dim
    whole = read + keys * has_bias + hidden + (hidden if has_bias and not is_qwen2 else 0)
    if getattr(config, "mlp_bias", False):
        whole += 2 * config.intermediate_size + hidden
    num_whole, last = last_layer, read + (queries + keys) * hidden
    if num_whole is None:
        num_whole, last = config.num_hidden_layers, 3 * hidden  # norm, and rows of the head
    return int(config.vocab_size * hidden + num_whole * whole + last)


def _token_bytes(config: PretrainedConfig, itemsize: int, quantization: Quantization) -> int:
    """Count the largest of a layer's moments, by engine/fused_network.py."""
    hidden, queries, keys, head_dim = _widths(config)
    gated, qkv = config.intermediate_size, queries + 2 * keys
    rounds = quantization == "fp8"  # what a product takes
    taken = _FP8_BYTES if rounds else itemsize
    inputs = 2 * _FP32_BYTES + 2 * head_dim * itemsize  # token, position, cos and sin
    # Beside the residual stream, in each moment: what the last block computed, and the norm's
    # result, which the last layer does not round; that and a product of it; the heads and their
    # result, which float8 rounds beside them; gate, up and their product; what a block's last
    # product takes and makes.
    moments = (
        2 * hidden * itemsize,
        hidden * taken + max(qkv, 2 * gated) * itemsize,
        (qkv + queries) * itemsize + queries * taken * rounds,
        2 * gated * itemsize + gated * taken,
        max(queries, gated) * taken + hidden * itemsize,
    )
    scales = _FP32_BYTES * rounds
    return int(inputs + scales + hidden * itemsize + max(moments))


def _graph_token_bytes(config: PretrainedConfig, itemsize: int, quantization: Quantization) -> int:
    """Count a token's bytes in the buffers of engine/cuda_graphs.py."""
    hidden, queries, keys, head_dim = _widths(config)
    rounds = quantization == "fp8"
    attention = queries * (_FP8_BYTES if rounds else itemsize) + _FP32_BYTES * rounds
    return int((hidden + 2 * head_dim + queries + 2 * keys) * itemsize + attention)
