"""Computes attention of a few queries to many keys as two matrix products, on the CPU.

Torch's fused attention does the same in blocks of 32 queries and 512 keys. Where bfloat16 products
are fast, that takes twice as long for the tail of a long list (loadtests/results/LOG.md).

Axes: M = queries, H = query heads, K = key/value heads, G = H / K, D = head_dim, S = keys: the M of
the queries, then those that all of them see; U = rows of k and v.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from blockrank_server.kernels.scaled_products import scaled_products

# Fewer shared keys than these are not worth two more passes over the products.
_MIN_SHARED = 512
# Of M * S: the products of one head, which are written out.
_MAX_PRODUCTS = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class WideGroup:
    """Segments with the same full spans, all their queries together.

    Attributes:
        tokens_M: int64, the token of each query.
        rows_S: int64, the rows of the queries' own keys, then those of the shared ones.
        run: set where these rows are one run, first and behind the last.
        hidden_MM: bool, which of the queries' own keys each of them does not see.
    """

    tokens_M: torch.Tensor
    rows_S: torch.Tensor
    run: slice | None
    hidden_MM: torch.Tensor

    def attend(
        self, q_THD: torch.Tensor, k_UKD: torch.Tensor, v_UKD: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Compute [M, H, D]: what each query gets of what it sees."""
        q_MHD, num_kv = q_THD[self.tokens_M], k_UKD.shape[1]
        num_queries, num_heads, dim = q_MHD.shape
        group = num_heads // num_kv
        q = q_MHD.view(num_queries, num_kv, group, dim).permute(1, 0, 2, 3)
        q = q.reshape(num_kv, num_queries * group, dim)
        products = scaled_products(q, self._heads_first(k_UKD), scale)  # [K, M * G, S]
        own = products.view(num_kv, num_queries, group, -1)[..., :num_queries]
        own.masked_fill_(self.hidden_MM[:, None], -torch.inf)
        out = torch.bmm(torch.softmax(products, -1), self._heads_first(v_UKD))
        out = out.view(num_kv, num_queries, group, dim).permute(1, 0, 2, 3)
        return out.reshape(num_queries, num_heads, dim)

    def _heads_first(self, x_UKD: torch.Tensor) -> torch.Tensor:
        """Give [K, S, D], each head's keys side by side: products take half the time so."""
        num_rows, num_kv, dim = x_UKD.shape
        heads_K1 = torch.arange(num_kv, device=x_UKD.device)[:, None]
        x_KUD = x_UKD.transpose(0, 1)
        if not x_KUD.is_contiguous():
            rows = (self.rows_S * num_kv + heads_K1).flatten()
            return x_UKD.reshape(-1, dim).index_select(0, rows).view(num_kv, -1, dim)
        if self.run is not None:
            return x_KUD[:, self.run]
        rows = (self.rows_S + num_rows * heads_K1).flatten()
        return x_KUD.reshape(-1, dim).index_select(0, rows).view(num_kv, -1, dim)


def wide_group(
    tokens_M: NDArray[np.int64],
    rows_S: NDArray[np.int64],
    sizes_B: NDArray[np.int64],
    device: torch.device,
    *,
    is_causal: bool,
) -> WideGroup | None:
    """Prepare queries for all layers; None where they are too many, or share too few keys.

    Args:
        tokens_M: int64, the token of each query, segment after segment.
        rows_S: int64, the rows of the queries' own keys, then those of the shared ones.
        sizes_B: counts the queries of each segment, which do not see one another's.
        is_causal: a query does not see what comes after it in its own segment, either.
    """
    num_shared = len(rows_S) - len(tokens_M)
    if num_shared < _MIN_SHARED or len(tokens_M) * len(rows_S) > _MAX_PRODUCTS:
        return None
    owner_M = np.arange(len(sizes_B)).repeat(sizes_B)
    hidden_MM = owner_M[:, None] != owner_M
    if is_causal:
        hidden_MM |= tokens_M > tokens_M[:, None]
    is_run = bool((np.diff(rows_S) == 1).all())
    return WideGroup(
        tokens_M=torch.from_numpy(tokens_M).to(device),
        rows_S=torch.from_numpy(rows_S).to(device),
        run=slice(int(rows_S[0]), int(rows_S[-1]) + 1) if is_run else None,
        hidden_MM=torch.from_numpy(hidden_MM).to(device),
    )
