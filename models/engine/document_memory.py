"""Opens the memory in which a ranker keeps documents: how much, and of what shape."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PretrainedConfig

from blockrank_server.models.checkpoint.any_card import PackedCard
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.document_cache.document_cache import DocumentCache
from blockrank_server.models.document_cache.document_store import DocumentStore
from blockrank_server.models.document_cache.kept import num_pages
from blockrank_server.models.document_cache.segmented_lru import MIN_DOCUMENTS
from blockrank_server.models.engine.batch_rows import BatchRows, batch_rows
from blockrank_server.models.engine.disk_tier import DiskTier
from blockrank_server.models.engine.packing import PackedBatch
from blockrank_server.models.engine.page_pool import PagePool, page_bytes
from blockrank_server.models.errors import CheckpointError
from blockrank_server.models.files.paths import expand_user

DOCUMENT_STORE_BYTES = 10_000_000_000
"""The bound of a store, where none is given."""


class DocumentBounds(NamedTuple):
    """Says where documents are kept, and how much of them.

    Attributes:
        memory_bytes: bounds what is kept in the device's memory; 0 keeps nothing.
        store: is the folder of those on disk; None keeps none there.
        store_bytes: bounds that folder.
    """

    memory_bytes: int
    store: str | Path | None = None
    store_bytes: int = DOCUMENT_STORE_BYTES


class DocumentMemory:
    """Keeps keys and values of documents for one engine.

    Attributes:
        cache: knows which are kept.
        disk: keeps them on disk, too, where there is a store.
        names: tell the model apart from others that keep documents in the same store.
        max_documents: counts the longest documents that the memory holds.
    """

    def __init__(
        self,
        cache: DocumentCache,
        pool: PagePool,
        disk: DiskTier | None,
        names: Sequence[str],
        max_documents: int,
    ) -> None:
        self.cache, self.disk, self.names = cache, disk, names
        self.max_documents = max_documents
        self._pool = pool

    def rows(self, batch: PackedBatch) -> AbstractContextManager[BatchRows | None]:
        """Give the rows of a batch for its forward pass; None where it sees and keeps nothing."""
        if not batch.kept and not batch.new:
            return nullcontext()
        keep = None if self.disk is None else self.disk.keep
        return batch_rows(batch, self.cache, self._pool, keep)


def open_document_memory(
    bounds: DocumentBounds,
    config: PretrainedConfig,
    card: PackedCard,
    dtype: torch.dtype,
    device: torch.device,
    names: Sequence[str] = (),
) -> DocumentMemory | None:
    """Take so many bytes for documents; None for 0.

    On the CPU they are taken as they are first written.

    Args:
        names: are those of DocumentMemory.

    Raises:
        CheckpointError: the card's documents are not reusable, or a bound is too small for them;
            or the store has no memory in front of it, or its folder cannot be used.
    """
    num_bytes = bounds.memory_bytes
    if num_bytes == 0 and bounds.store is None:
        return None
    least = least_document_bytes(config, card, dtype)
    if least is None:
        asked = f"cache_bytes is {num_bytes}" if num_bytes else f"store is {bounds.store}"
        raise CheckpointError(
            f"document_{asked}, but documents of the card {card.name!r} cannot be kept: their keys "
            "and values depend on the query or on their place in the list"
        )
    if num_bytes == 0:
        raise CheckpointError(
            f"document_store is {bounds.store}, which needs memory to read documents into, but "
            "document_cache_bytes is 0, or auto where too little memory is free"
        )
    if num_bytes < least:
        raise CheckpointError(
            f"document_cache_bytes is {num_bytes}, at least {least} are needed for "
            f"{MIN_DOCUMENTS} documents of {card.limits.max_document_tokens} tokens"
        )
    assert isinstance(card, Card)
    one_page, longest = page_bytes(config, card.last_layer, dtype), _max_rows(card)
    max_pages = num_bytes // one_page
    pool = PagePool.open(max_pages, config, card.last_layer, dtype, device)
    cache = DocumentCache(max_pages, one_page)
    disk = None
    if bounds.store is not None:
        lengths = card.limits.max_document_tokens, longest
        folder = expand_user(bounds.store)
        store = DocumentStore.open(folder, bounds.store_bytes, pool.row_format, lengths)
        disk = DiskTier(store, cache, pool, max_pages)
    return DocumentMemory(cache, pool, disk, names, max_pages // num_pages(longest))


def least_document_bytes(
    config: PretrainedConfig, card: PackedCard, dtype: torch.dtype
) -> int | None:
    """Return the smallest bound that a card's documents can be kept in; None: they cannot be."""
    if not isinstance(card, Card) or not card.reusable_documents:
        return None
    return MIN_DOCUMENTS * num_pages(_max_rows(card)) * page_bytes(config, card.last_layer, dtype)


def _max_rows(card: Card) -> int:
    # A tail sees at most two tokens more than one of every stride.
    return -(-card.limits.max_document_tokens // card.tail_stride) + 2
