"""Lets a batch see the keys and values of kept documents, and keeps those of new ones.

Axes: T = tokens of the batch, P = rows of kept documents that it sees, K = key/value heads,
D = head_dim, U = rows of the pool.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from blockrank_server.kernels.upload import upload
from blockrank_server.models.document_cache.document_cache import DocumentCache
from blockrank_server.models.document_cache.kept import Kept
from blockrank_server.models.engine.packing import PackedBatch
from blockrank_server.models.engine.page_pool import PagePool


class BatchRows:
    """Holds the rows of one batch in the pool, for the time of its forward pass.

    Args:
        rows_P: those that it sees.
        tokens: tokens of the batch whose rows are kept.
        new_rows: the rows that they get.
        num_tokens: T.
    """

    def __init__(
        self,
        pool: PagePool,
        rows_P: NDArray[np.int64],
        tokens: NDArray[np.int64],
        new_rows: NDArray[np.int64],
        num_tokens: int,
    ) -> None:
        self._pool, device = pool, pool.device
        self._rows_P = upload(rows_P, device) if len(rows_P) else None
        self._new_rows = upload(new_rows, device) if len(new_rows) else None
        # Where most keys are kept ones, products want each head's side by side.
        self._head_rows: list[torch.Tensor] = []
        if device.type == "cpu" and len(rows_P) > num_tokens:
            first = torch.from_numpy(rows_P * pool.num_kv_heads)
            self._head_rows = [first + head for head in range(pool.num_kv_heads)]
        self._tokens: slice | torch.Tensor = slice(0, 0)
        if len(tokens):
            is_one_run = bool((np.diff(tokens) == 1).all())
            run = slice(int(tokens[0]), int(tokens[-1]) + 1)
            self._tokens = run if is_one_run else upload(tokens, device)

    def keys(self, layer: int, k_TKD: torch.Tensor) -> torch.Tensor:
        """Keep the keys of new documents; return [T + P, K, D], those of kept ones behind."""
        return self._seen(self._pool.keys(layer), k_TKD)

    def values(self, layer: int, v_TKD: torch.Tensor) -> torch.Tensor:
        """Do with the values of a layer as keys does."""
        return self._seen(self._pool.values(layer), v_TKD)

    def _seen(self, pool_UKD: torch.Tensor, own_TKD: torch.Tensor) -> torch.Tensor:
        if self._new_rows is not None:
            pool_UKD.index_copy_(0, self._new_rows, own_TKD[self._tokens])
        if self._rows_P is None:
            return own_TKD
        if self._head_rows:
            return self._heads_first(pool_UKD, own_TKD)
        num_tokens = len(own_TKD)
        shape = num_tokens + len(self._rows_P), *own_TKD.shape[1:]
        seen = torch.empty(shape, dtype=own_TKD.dtype, device=own_TKD.device)
        seen[:num_tokens] = own_TKD
        torch.index_select(pool_UKD, 0, self._rows_P, out=seen[num_tokens:])
        return seen

    def _heads_first(self, pool_UKD: torch.Tensor, own_TKD: torch.Tensor) -> torch.Tensor:
        num_tokens, num_kv, dim = own_TKD.shape
        num_seen = num_tokens + len(self._head_rows[0])
        seen_KTD = torch.empty(num_kv, num_seen, dim, dtype=own_TKD.dtype)
        seen_KTD[:, :num_tokens] = own_TKD.transpose(0, 1)
        for rows_P, seen_TD in zip(self._head_rows, seen_KTD, strict=True):
            torch.index_select(pool_UKD.flatten(0, 1), 0, rows_P, out=seen_TD[num_tokens:])
        return seen_KTD.transpose(0, 1)


@contextmanager
def batch_rows(
    batch: PackedBatch,
    cache: DocumentCache,
    pool: PagePool,
    keep: Callable[[Sequence[Kept]], None] | None = None,
) -> Iterator[BatchRows]:
    """Give the rows of a batch; what it computed can be found once the block ends well.

    Args:
        keep: takes what can be found from then on, each document with one pin.
    """
    reserved: list[Kept] = []
    tokens = [np.empty(0, np.int64)]
    try:
        for new in batch.new:
            if (kept := cache.reserve(new)) is not None:
                reserved.append(kept)
                tokens.append(new.tokens.astype(np.int64))
        kept_rows, new_rows = pool.rows(batch.kept), pool.rows(reserved)
        yield BatchRows(pool, kept_rows, np.concatenate(tokens), new_rows, batch.num_tokens)
    except BaseException:
        cache.give_back(reserved)
        raise
    added = cache.commit(reserved, num_pins=int(keep is not None))
    if keep is not None and added:
        keep(added)
