"""Computes block-sparse attention in few large steps of plain torch: what CUDA trains with.

It does what kernels/block_attention.py does, which a GPU is slow at: there each list's tail is a
group of its own, and each group takes dozens of small kernels in each layer, back and forth. Here
segments of about one size are one group, whatever they see. What a segment lacks is padding, which
a bias hides; a GPU has the arithmetic to spare.

Axes: as in kernels/block_attention.py; P = rows of all groups' padded queries, X = of their keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from blockrank_server.kernels.block_attention import check_block_attention
from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.segments import Segment, check_segments
from blockrank_server.kernels.upload import upload

# cuDNN, which torch takes first on new devices, plans anew for every shape: half a second for each,
# and no two batches are alike.
_BACKENDS = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
# Fused attention wants the rows of a bias to begin at multiples of so many elements.
_ALIGNMENT = 8
# Elements of the bias of one head of a group; larger groups are split.
_MAX_BIAS = 1 << 25


@dataclass(frozen=True, slots=True)
class _Shape:
    """Holds a group's numbers of segments, of queries and of full keys, which are padded to."""

    num_segments: int
    num_queries: int
    num_full: int

    @property
    def num_keys(self) -> int:
        """Count S, so that a row of the bias is aligned."""
        return -(-(self.num_full + self.num_queries) // _ALIGNMENT) * _ALIGNMENT


class PaddedAttentionPlan:
    """Holds segments as gather indices, prepared once for all layers of a forward pass.

    Args:
        segments: cover 0 .. num_tokens exactly once.
        key_rows: says in which row of k and v each key stands; None: in that of its number.

    Attributes:
        queries_P: int64, the token of each query; padding is of other tokens.
        keys_X: int64, the row of each key; padding likewise.
        rows_T: int64, the row of P in which each token's own query stands.

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
        self.shapes: list[_Shape] = []
        rows_T, num_rows = np.empty(num_tokens, np.int64), 0
        queries, keys, members = [rows_T[:0]], [rows_T[:0]], []
        for group in _alike(segments):
            shape, queries_BL, keys_BS = _padded(group, num_tokens)
            self.shapes.append(shape)
            for i, segment in enumerate(group):
                row = num_rows + i * shape.num_queries
                rows_T[segment.start : segment.stop] = np.arange(row, row + segment.num_tokens)
            num_rows += queries_BL.size
            queries.append(queries_BL.ravel())
            keys.append(keys_BS.ravel())
            members += group
        keys_X = np.concatenate(keys)
        if key_rows is not None:
            keys_X = key_rows.rows_S[keys_X].astype(np.int64)
        self.queries_P = upload(np.concatenate(queries), device)
        self.keys_X = upload(keys_X, device)
        self.rows_T = upload(rows_T, device)
        sizes = [(each.num_tokens, each.num_full, each.is_causal) for each in members]
        self._sizes_3B = upload(np.array(sizes, np.int64).reshape(-1, 3).T, device)
        self._biases: list[torch.Tensor] = []

    def biases(self, num_heads: int, dtype: torch.dtype) -> list[torch.Tensor]:
        """Return [B, 1, num_heads * L, S] for each group: 0 where a query sees a key, else -inf.

        They are made by the first call; all layers of a network have as many heads for each
        key/value head, and one dtype.
        """
        if not self._biases:
            sizes = torch.split(self._sizes_3B, [shape.num_segments for shape in self.shapes], 1)
            for shape, sizes_3B in zip(self.shapes, sizes, strict=True):
                hidden_BLS = ~_visible(shape, sizes_3B)
                bias_BLS = torch.zeros(hidden_BLS.shape, dtype=dtype, device=hidden_BLS.device)
                bias_BLS.masked_fill_(hidden_BLS, -torch.inf)
                self._biases.append(bias_BLS.repeat(1, num_heads, 1)[:, None])
        return self._biases


def padded_attention(
    q_THD: torch.Tensor,
    k_UKD: torch.Tensor,
    v_UKD: torch.Tensor,
    plan: PaddedAttentionPlan,
    scale: float,
) -> torch.Tensor:
    """Compute softmax attention in which each token sees what its segment says.

    Arguments, result and errors are those of kernels/block_attention.py.
    """
    check_block_attention(q_THD, k_UKD, v_UKD, plan.num_tokens, plan.key_rows)
    if not plan.shapes:
        return torch.empty_like(q_THD)
    num_heads, num_kv, dim = q_THD.shape[1], k_UKD.shape[1], q_THD.shape[2]
    group = num_heads // num_kv
    num_queries = [shape.num_segments * shape.num_queries for shape in plan.shapes]
    num_keys = [shape.num_segments * shape.num_keys for shape in plan.shapes]
    parts = zip(
        plan.shapes,
        torch.split(q_THD[plan.queries_P], num_queries),
        torch.split(k_UKD[plan.keys_X], num_keys),
        torch.split(v_UKD[plan.keys_X], num_keys),
        plan.biases(group, q_THD.dtype),
        strict=True,
    )
    outs = []
    with sdpa_kernel(_BACKENDS):
        for shape, q_QHD, k_XKD, v_XKD, bias in parts:
            # The heads of one KV head become rows of one query matrix, so no key is repeated.
            q = q_QHD.view(shape.num_segments, shape.num_queries, num_kv, group, dim)
            q = q.permute(0, 2, 3, 1, 4).flatten(2, 3)  # [B, K, G * L, D]
            k, v = (
                x.view(shape.num_segments, shape.num_keys, num_kv, dim).transpose(1, 2)
                for x in (k_XKD, v_XKD)
            )
            out = scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
            out = out.view(shape.num_segments, num_kv, group, shape.num_queries, dim)
            outs.append(out.permute(0, 3, 1, 2, 4).reshape(-1, num_heads, dim))
    return torch.cat(outs)[plan.rows_T]


def _alike(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Group segments whose queries and keys are within a factor of four; drop the empty ones."""
    groups: dict[tuple[int, int], list[Segment]] = {}
    for segment in segments:
        if num_queries := segment.num_tokens:
            num_keys = num_queries + segment.num_full
            key = num_queries.bit_length() // 2, num_keys.bit_length() // 2
            groups.setdefault(key, []).append(segment)
    for group in groups.values():
        longest = max(each.num_tokens for each in group)
        most = max(each.num_full for each in group)
        size = max(1, _MAX_BIAS // (longest * (longest + most)))
        for first in range(0, len(group), size):
            yield group[first : first + size]


def _padded(
    group: Sequence[Segment], num_tokens: int
) -> tuple[_Shape, NDArray[np.int64], NDArray[np.int64]]:
    """Return the [B, L] tokens of a group's queries, and the [B, S] keys: full ones, then own.

    Padding is of the tokens that follow, not of one: CUDA sums the gradients of a row that is
    gathered many times one after another.
    """
    longest = max(each.num_tokens for each in group)
    shape = _Shape(len(group), longest, max(each.num_full for each in group))
    starts_B1 = np.array([[each.start] for each in group], np.int64)
    queries_BL = (starts_B1 + np.arange(longest)) % num_tokens
    keys_BS = (starts_B1 + np.arange(shape.num_keys) - shape.num_full) % num_tokens
    for segment, keys in zip(group, keys_BS, strict=True):
        at = 0
        for start, stop in segment.full:
            keys[at : at + stop - start] = np.arange(start, stop)
            at += stop - start
    return shape, queries_BL, keys_BS


def _visible(shape: _Shape, sizes_3B: torch.Tensor) -> torch.Tensor:
    """Return bool [B, L, S], whether a query sees a key; each sees one, padding too."""
    num_tokens, num_full, is_causal = sizes_3B[:, :, None, None]
    query_L1 = torch.arange(shape.num_queries, device=sizes_3B.device)[:, None]
    own_S = torch.arange(shape.num_keys, device=sizes_3B.device) - shape.num_full
    sees_own = (own_S >= 0) & (own_S < num_tokens) & ((own_S <= query_L1) | (is_causal == 0))
    visible_BLS: torch.Tensor = sees_own | ((own_S < 0) & (own_S + shape.num_full < num_full))
    return visible_BLS
