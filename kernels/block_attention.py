"""Computes block-sparse attention over a packed batch, in plain torch: the CPU path and the oracle.

Axes: T = packed tokens, H = query heads, K = key/value heads, G = H / K, D = head_dim,
B = segments computed together, L = longest segment among them, F = full keys, S = F + L,
U = rows of k and v: T, or more where a table says in which of them a key stands.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import scaled_dot_product_attention

from blockrank_server.kernels.causal_attention import causal_attention, is_faster
from blockrank_server.kernels.glue import RoundedRows, round_rows
from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.segments import Segment, check_segments
from blockrank_server.kernels.wide_attention import WideGroup, wide_group

# Segments are padded to the longest of their group. A group ends where padding would pass a
# quarter of a segment, or where its keys would leave the cache (loadtests/results/LOG.md).
_MAX_GROUP = 32
_MAX_LENGTH_RATIO = 1.25


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Holds segments with the same full spans and nearly the same length, as gather indices."""

    queries_BL: torch.Tensor  # int64, token of each query; padding repeats the first token
    keys_BS: torch.Tensor  # int64, row of each key; padding likewise
    # bool [L, S] where segments are causal, so that padded keys come after every real query;
    # [B, 1, 1, S] where they are not; None where every query sees every key.
    visible: torch.Tensor | None
    real_M: torch.Tensor  # int64, rows of the flattened [B * L] that are no padding
    tokens_M: torch.Tensor  # int64, the token each of those rows belongs to
    wide: WideGroup | None  # a faster way where no gradient is needed


class BlockAttentionPlan:
    """Holds segments as gather indices, prepared once for all layers of a forward pass.

    Args:
        segments: cover 0 .. num_tokens exactly once.
        key_rows: says in which row of k and v each key stands; None: in that of its number.

    Raises:
        ValueError: the segments do not cover the tokens.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        num_tokens: int,
        device: torch.device,
        key_rows: KeyRows | None = None,
    ) -> None:
        check_segments(segments, num_tokens, key_rows)
        self.num_tokens = num_tokens
        self.key_rows = key_rows
        self._groups = [_group(members, key_rows, device) for members in _alike(segments)]

    def __iter__(self) -> Iterator[_Group]:
        return iter(self._groups)


def block_attention(
    q_THD: torch.Tensor,
    k_UKD: torch.Tensor,
    v_UKD: torch.Tensor,
    plan: BlockAttentionPlan,
    scale: float,
) -> torch.Tensor:
    """Compute softmax attention in which each token sees what its segment says.

    Args:
        q_THD: [T, H, D] queries, fp32, bf16 or fp16.
        k_UKD: [U, K, D] keys of the same dtype; H is a multiple of K, none is repeated.
        v_UKD: [U, K, D] values.
        plan: must be of the same T, and of U rows at most.
        scale: multiplies q . k, 1 / sqrt(D) as a rule.

    Returns:
        [T, H, D] in the queries' dtype. Differentiable.

    Raises:
        ValueError: a shape or dtype is not as above; before any work.

    Source:
        Figure 2 of BlockRank, arXiv:2510.05396.
    """
    check_block_attention(q_THD, k_UKD, v_UKD, plan.num_tokens, plan.key_rows)
    out_THD = torch.empty_like(q_THD)  # every token stands in one group
    for group in plan:
        if group.wide is not None and not q_THD.requires_grad:
            out_THD.index_copy_(0, group.tokens_M, group.wide.attend(q_THD, k_UKD, v_UKD, scale))
            continue
        q_BLHD = q_THD[group.queries_BL]
        k_BSKD, v_BSKD = k_UKD[group.keys_BS], v_UKD[group.keys_BS]
        out_BLHD = _attend(q_BLHD, k_BSKD, v_BSKD, group.visible, scale)
        out_THD.index_copy_(0, group.tokens_M, out_BLHD.flatten(0, 1)[group.real_M])
    return out_THD


def _attend(
    q_BLHD: torch.Tensor,
    k_BSKD: torch.Tensor,
    v_BSKD: torch.Tensor,
    visible: torch.Tensor | None,
    scale: float,
) -> torch.Tensor:
    """Compute [B, L, H, D] of one group."""
    is_causal = visible is not None and visible.ndim == 2
    if is_causal and is_faster(q_BLHD):
        return causal_attention(q_BLHD, k_BSKD, v_BSKD, scale)
    # The heads of one KV head become rows of one query matrix, so no key is repeated.
    q_BLKGD = torch.unflatten(q_BLHD, 2, (k_BSKD.shape[2], -1))
    length, _, num_queries, _ = q_BLKGD.shape[1:]
    if visible is not None and is_causal:
        visible = visible.repeat(num_queries, 1)  # [G * L, S]
    out_BKMD = scaled_dot_product_attention(
        q_BLKGD.permute(0, 2, 3, 1, 4).flatten(2, 3),  # [B, K, G * L, D]
        k_BSKD.transpose(1, 2),
        v_BSKD.transpose(1, 2),
        attn_mask=visible,
        scale=scale,
    )
    out_BKGLD = torch.unflatten(out_BKMD, 2, (num_queries, length))
    return out_BKGLD.permute(0, 3, 1, 2, 4).flatten(2, 3)


def block_attention_fp8(
    q_THD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    plan: BlockAttentionPlan,
    scale: float,
) -> RoundedRows:
    """Do as block_attention does, and round each token's heads together to float8: [T, H * D]."""
    return round_rows(block_attention(q_THD, k_TKD, v_TKD, plan, scale).flatten(1))


def _alike(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Group segments that waste little when they are padded to one length; drop the empty ones."""
    ordered = sorted(
        (segment for segment in segments if segment.num_tokens),
        key=lambda segment: (segment.full, segment.is_causal, segment.num_tokens),
    )
    group: list[Segment] = []
    for segment in ordered:
        if group and (
            (segment.full, segment.is_causal) != (group[0].full, group[0].is_causal)
            or len(group) == _MAX_GROUP
            or segment.num_tokens > _MAX_LENGTH_RATIO * group[0].num_tokens
        ):
            yield group
            group = []
        group.append(segment)
    if group:
        yield group


def _group(members: Sequence[Segment], key_rows: KeyRows | None, device: torch.device) -> _Group:
    # Built with numpy: torch would wake its threads for each of these small arrays.
    starts_B = np.array([segment.start for segment in members])
    sizes_B = np.array([segment.num_tokens for segment in members])
    steps_L = np.arange(sizes_B.max())
    real_BL = steps_L < sizes_B[:, None]
    queries_BL = np.where(real_BL, starts_B[:, None] + steps_L, starts_B[:, None])
    full_F = np.concatenate(
        [np.arange(start, stop) for start, stop in members[0].full] or [steps_L[:0]]
    )
    full_BF = np.broadcast_to(full_F, (len(members), len(full_F)))
    keys_BS = np.concatenate([full_BF, queries_BL], axis=1)
    if key_rows is not None:
        keys_BS = key_rows.rows_S[keys_BS].astype(np.int64)
    visible = _visible(real_BL, len(full_F), is_causal=members[0].is_causal)
    num_full, tokens_M = len(full_F), queries_BL[real_BL]
    return _Group(
        queries_BL=torch.from_numpy(queries_BL).to(device),
        keys_BS=torch.from_numpy(keys_BS).to(device),
        visible=None if visible is None else torch.from_numpy(visible).to(device),
        real_M=torch.from_numpy(real_BL.ravel().nonzero()[0]).to(device),
        tokens_M=torch.from_numpy(tokens_M).to(device),
        wide=wide_group(
            tokens_M,
            np.concatenate([keys_BS[:, num_full:][real_BL], keys_BS[0, :num_full]]),
            sizes_B,
            device,
            is_causal=members[0].is_causal,
        ),
    )


def _visible(
    real_BL: NDArray[np.bool_], num_full: int, *, is_causal: bool
) -> NDArray[np.bool_] | None:
    """Make the mask of a group, as _Group has it."""
    num, longest = real_BL.shape
    if is_causal:
        return np.tri(longest, num_full + longest, num_full, dtype=np.bool_)
    if real_BL.all():
        return None
    real_BS = np.concatenate([np.ones((num, num_full), np.bool_), real_BL], axis=1)
    return real_BS[:, None, None]


def check_block_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    num_tokens: int,
    key_rows: KeyRows | None = None,
) -> None:
    """Refuse shapes and dtypes that attention over num_tokens tokens cannot take.

    Raises:
        ValueError: what was expected and what was given.
    """
    if q.ndim != 3 or q.shape[0] != num_tokens:
        raise ValueError(f"q must be [{num_tokens}, heads, head_dim], got {list(q.shape)}")
    # k and v of another length without a table are those of other tokens.
    rows, has_rows = f"{num_tokens}", len(k) == num_tokens
    if key_rows is not None:
        rows, has_rows = f"{key_rows.num_rows} or more", len(k) >= key_rows.num_rows
    if k.ndim != 3 or k.shape != v.shape or not has_rows or k.shape[2] != q.shape[2]:
        raise ValueError(
            f"k and v must be [{rows}, kv_heads, {q.shape[2]}], "
            f"got {list(k.shape)} and {list(v.shape)}"
        )
    if k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        raise ValueError(f"{q.shape[1]} query heads are no multiple of {k.shape[1]} kv heads")
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(f"dtypes differ: q {q.dtype}, k {k.dtype}, v {v.dtype}")
