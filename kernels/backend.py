"""Decides which implementation a device gets: once, from the device alone, never by except."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import torch

from blockrank_server.kernels import block_attention, document_scores, span_lse
from blockrank_server.kernels.document_scores import ScoreRule
from blockrank_server.kernels.glue import TORCH_GLUE, Glue, RoundedRows
from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.launch_config import arch_of
from blockrank_server.kernels.segments import Segment


class BlockAttentionPlanLike(Protocol):
    """Says what every backend's plan of block attention offers."""

    num_tokens: int  # T


class PlanBlockAttention(Protocol):
    """Prepares segments once for all layers of a forward pass."""

    def __call__(
        self,
        segments: Sequence[Segment],
        num_tokens: int,
        device: torch.device,
        key_rows: KeyRows | None = None,
    ) -> BlockAttentionPlanLike: ...


class PlanSpanLse(Protocol):
    """Prepares readings once for all read layers of a forward pass."""

    def __call__(
        self,
        reads: Sequence[span_lse.SpanRead],
        device: torch.device,
        key_rows: KeyRows | None = None,
    ) -> span_lse.SpanLsePlanLike: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """Holds one implementation of all operations. A plan of one backend fits no other backend.

    Attributes:
        name: is shown in logs and by /info.
        plan_block_attention: makes the plan of the next.
        block_attention: (q_THD, k_UKD, v_UKD, plan, scale) -> [T, H, D], as documented in
            kernels/block_attention.py.
        block_attention_fp8: the same, rounded to float8, [T, H * D].
        plan_span_lse: makes the plan of the next.
        span_lse: (q_RHD, k_UKD, kv_head_H, plan, scale) -> [H, r, N] each, as documented in
            kernels/span_lse.py.
        document_scores: (lse of each layer, num_documents, rule) -> [sum of N], as documented in
            kernels/document_scores.py.
        glue: what stands between matrix products, as documented in kernels/glue.py.
    """

    name: Literal["torch", "triton"]
    plan_block_attention: PlanBlockAttention
    # Any: the plan's type is the backend's own affair.
    block_attention: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Any, float], torch.Tensor]
    block_attention_fp8: Callable[
        [torch.Tensor, torch.Tensor, torch.Tensor, Any, float], RoundedRows
    ]
    plan_span_lse: PlanSpanLse
    span_lse: Callable[[torch.Tensor, torch.Tensor, Sequence[int], Any, float], list[torch.Tensor]]
    document_scores: Callable[
        [Sequence[Sequence[torch.Tensor]], Sequence[int], ScoreRule], torch.Tensor
    ]
    glue: Glue


TORCH_BACKEND = Backend(
    name="torch",
    plan_block_attention=block_attention.BlockAttentionPlan,
    block_attention=block_attention.block_attention,
    block_attention_fp8=block_attention.block_attention_fp8,
    plan_span_lse=span_lse.SpanLsePlan,
    span_lse=span_lse.span_lse,
    document_scores=document_scores.document_scores,
    glue=TORCH_GLUE,
)
"""Runs on every device and is differentiable: the choice for training, on CUDA too."""


def choose_backend(device: torch.device) -> Backend:
    """Take Triton on CUDA and torch on the CPU.

    Raises:
        ValueError: another device, or a card older than the kernels support.
        RuntimeError: a CUDA device, but triton is not installed.
    """
    if device.type == "cpu":
        return TORCH_BACKEND
    if device.type != "cuda":
        raise ValueError(f"device must be cpu or cuda, got {device}")
    if find_spec("triton") is None:
        raise RuntimeError(
            "a CUDA device needs the triton package, which is not installed: install torch's CUDA "
            "build, which brings it, or run on the CPU"
        )
    backend = triton_backend()
    arch_of(device)  # refuses an unsupported card now, not in the first request
    return backend


def triton_backend() -> Backend:
    """Return the Triton kernels, which run forward only, on CUDA or in Triton's interpreter.

    Raises:
        ModuleNotFoundError: triton is not installed.
    """
    # Imported here: a machine without triton imports this module too.
    from blockrank_server.kernels import (  # noqa: PLC0415
        block_attention_tiles,
        block_attention_triton,
        document_scores_triton,
        glue_triton,
        span_lse_tiles,
        span_lse_triton,
    )

    return Backend(
        name="triton",
        plan_block_attention=block_attention_tiles.BlockAttentionTilePlan,
        block_attention=block_attention_triton.block_attention,
        block_attention_fp8=block_attention_triton.block_attention_fp8,
        plan_span_lse=span_lse_tiles.SpanLseTilePlan,
        span_lse=span_lse_triton.span_lse,
        document_scores=document_scores_triton.document_scores,
        glue=glue_triton.TRITON_GLUE,
    )
