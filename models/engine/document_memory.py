"""Opens the memory in which a ranker keeps documents: how much, and of what shape."""

from contextlib import AbstractContextManager, nullcontext

import torch
from transformers import PretrainedConfig

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.document_cache.document_cache import DocumentCache
from blockrank_server.models.document_cache.kept import num_pages
from blockrank_server.models.document_cache.segmented_lru import MIN_DOCUMENTS
from blockrank_server.models.engine.batch_rows import BatchRows, batch_rows
from blockrank_server.models.engine.packing import PackedBatch
from blockrank_server.models.engine.page_pool import PagePool, page_bytes
from blockrank_server.models.errors import CheckpointError


class DocumentMemory:
    """Keeps keys and values of documents for one engine.

    Attributes:
        cache: knows which are kept.
    """

    def __init__(self, cache: DocumentCache, pool: PagePool) -> None:
        self.cache = cache
        self._pool = pool

    def rows(self, batch: PackedBatch) -> AbstractContextManager[BatchRows | None]:
        """Give the rows of a batch for its forward pass; None where it sees and keeps nothing."""
        if not batch.kept and not batch.new:
            return nullcontext()
        return batch_rows(batch, self.cache, self._pool)


def open_document_memory(
    num_bytes: int,
    config: PretrainedConfig,
    card: Card,
    dtype: torch.dtype,
    device: torch.device,
) -> DocumentMemory | None:
    """Take so many bytes for documents; None for 0.

    On the CPU they are taken as they are first written.

    Args:
        num_bytes: bounds what is taken.

    Raises:
        CheckpointError: the card's documents are not reusable, or the bound is too small for them.
    """
    if num_bytes == 0:
        return None
    if not card.reusable_documents:
        raise CheckpointError(
            f"document_cache_bytes is {num_bytes}, but documents of the card {card.name!r} cannot "
            "be kept: their keys and values depend on the query or on their place in the list"
        )
    one_page = page_bytes(config, card.last_layer, dtype)
    # A tail sees at most two tokens more than one of every stride.
    longest = num_pages(-(-card.limits.max_document_tokens // card.tail_stride) + 2)
    if num_bytes < (needed := MIN_DOCUMENTS * longest * one_page):
        raise CheckpointError(
            f"document_cache_bytes is {num_bytes}, at least {needed} are needed for "
            f"{MIN_DOCUMENTS} documents of {card.limits.max_document_tokens} tokens"
        )
    pool = PagePool.open(num_bytes // one_page, config, card.last_layer, dtype, device)
    return DocumentMemory(DocumentCache(num_bytes // one_page, one_page), pool)
