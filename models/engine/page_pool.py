"""Holds the keys and values of kept documents, of every layer, in pages of one tensor.

Axes: B = pages, R = rows of a page, K = key/value heads, D = head_dim, U = all rows.

A page holds R rows of each layer's keys, then of its values, and of the last layer only the keys:
so what belongs to a document stands together, and a row has the same number in every layer, counted
from that layer's first row.

    page 0: keys 0 | values 0 | keys 1 | values 1 | ... | keys L     page 1: keys 0 | ...
            R rows
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PretrainedConfig

from blockrank_server.models.checkpoint.model_config import head_shape
from blockrank_server.models.document_cache.kept import PAGE_ROWS, Kept


class PagePool:
    """Holds pages on a device.

    Args:
        rows_UKD: all rows of all pages and layers.
        num_parts: counts keys and values of all layers.
    """

    def __init__(self, rows_UKD: torch.Tensor, num_parts: int) -> None:
        self._rows_UKD, self._stride = rows_UKD, num_parts * PAGE_ROWS

    @classmethod
    def open(
        cls,
        num_pages: int,
        config: PretrainedConfig,
        last_layer: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> Self:
        """Take the memory of so many pages; on the CPU it is taken where it is first written."""
        num_parts = _num_parts(last_layer)
        shape = num_pages * num_parts * PAGE_ROWS, *head_shape(config)[1:]
        return cls(torch.empty(shape, dtype=dtype, device=device), num_parts)

    @property
    def device(self) -> torch.device:
        return self._rows_UKD.device

    @property
    def num_kv_heads(self) -> int:
        return self._rows_UKD.shape[1]

    def keys(self, layer: int) -> torch.Tensor:
        """View the keys of a layer: row 0 of page 0 first. Rows of other layers are in between."""
        return self._rows_UKD[2 * layer * PAGE_ROWS :]

    def values(self, layer: int) -> torch.Tensor:
        """View the values of a layer below the last, as keys does."""
        return self._rows_UKD[(2 * layer + 1) * PAGE_ROWS :]

    def rows(self, kept: Sequence[Kept]) -> NDArray[np.int64]:
        """List the rows of documents, one after another, for any layer."""
        parts = [
            (each.pages[:, None] * self._stride + np.arange(PAGE_ROWS)).ravel()[: each.num_rows]
            for each in kept
        ]
        return np.concatenate([np.empty(0, np.int64), *parts])


def page_bytes(config: PretrainedConfig, last_layer: int, dtype: torch.dtype) -> int:
    """Count the bytes of one page."""
    _, num_kv, head_dim = head_shape(config)
    return _num_parts(last_layer) * PAGE_ROWS * num_kv * head_dim * dtype.itemsize


def _num_parts(last_layer: int) -> int:
    return 2 * last_layer + 1
