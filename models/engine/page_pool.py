"""Holds the keys and values of kept documents, of every layer, in pages of one tensor.

Axes: B = pages, R = rows of a page, K = key/value heads, D = head_dim, U = all rows.

A page holds R rows of each layer's keys, then of its values, and of the last layer only the keys:
so what belongs to a document stands together, and a row has the same number in every layer, counted
from that layer's first row.

    page 0: keys 0 | values 0 | keys 1 | values 1 | ... | keys L     page 1: keys 0 | ...
            R rows
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PretrainedConfig

from blockrank_server.models.checkpoint.model_config import head_shape
from blockrank_server.models.document_cache.kept import PAGE_ROWS, Kept
from blockrank_server.models.document_cache.stored_file import RowFormat


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

    @property
    def is_in_place(self) -> bool:
        """Say whether the processor reads and writes the rows where they are."""
        return self.device.type == "cpu"

    @property
    def row_format(self) -> RowFormat:
        """Describe what one token takes."""
        _, num_kv, dim = self._rows_UKD.shape
        dtype = self._rows_UKD.dtype
        return RowFormat(
            dtype=str(dtype).removeprefix("torch."),
            num_parts=self._stride // PAGE_ROWS,
            num_kv_heads=num_kv,
            head_dim=dim,
            part_bytes=num_kv * dim * dtype.itemsize,
        )

    def read(self, kept: Kept) -> list[memoryview]:
        """View the rows of a document page by page; a copy of them, where they are on a device."""
        pages = kept.pages
        if self.is_in_place:
            return _buffers(self._pages(), pages, kept)
        copied = self._pages()[torch.from_numpy(pages).to(self.device)].cpu()
        return _buffers(copied, np.arange(len(pages)), kept)

    @contextmanager
    def write(self, kept: Kept) -> Iterator[list[memoryview]]:
        """Let the block fill the rows of a document, as read views them."""
        if self.is_in_place:
            yield self.read(kept)
            return
        pages_PUKD, num_pages = self._pages(), len(kept.pages)
        filled = torch.zeros(num_pages, *pages_PUKD.shape[1:], dtype=pages_PUKD.dtype)
        yield _buffers(filled, np.arange(num_pages), kept)
        # Behind what runs, on the one stream of all batches; so before those that will read it.
        pages_PUKD[torch.from_numpy(kept.pages).to(self.device)] = filled.to(self.device)

    def _pages(self) -> torch.Tensor:
        return self._rows_UKD.view(-1, self._stride, *self._rows_UKD.shape[1:])


def page_bytes(config: PretrainedConfig, last_layer: int, dtype: torch.dtype) -> int:
    """Count the bytes of one page."""
    _, num_kv, head_dim = head_shape(config)
    return _num_parts(last_layer) * PAGE_ROWS * num_kv * head_dim * dtype.itemsize


def _num_parts(last_layer: int) -> int:
    return 2 * last_layer + 1


def _buffers(pages_PUKD: torch.Tensor, pages: NDArray[np.int64], kept: Kept) -> list[memoryview]:
    """View whole pages, and of a document's last one the rows of each part that are used."""
    if not len(pages):
        return []
    raw = pages_PUKD.view(torch.uint8).flatten(2).numpy()
    *whole, last = pages.tolist()
    num_used = kept.num_rows - PAGE_ROWS * len(whole)
    parts = raw[last].reshape(-1, PAGE_ROWS, raw.shape[2])
    views = [raw[page] for page in whole]
    views += [raw[last]] if num_used == PAGE_ROWS else [part[:num_used] for part in parts]
    return [memoryview(view).cast("B") for view in views]
