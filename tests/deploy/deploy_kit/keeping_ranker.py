"""A fake ranker that knows a document from its second request on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from blockrank_server.models.document_cache.document_cache import CacheStats, DocumentCache
from blockrank_server.models.document_cache.kept import NewDocument
from blockrank_server.models.prompt.request import EncodedRequest


def keeping_ranker(fake_ranker: Any, documents: DocumentCache) -> Any:
    """Make a kind of fake ranker whose documents are known until they give way."""

    class KeepingRanker(fake_ranker):  # type: ignore[misc]
        cache = documents

        def document_cache_stats(self) -> CacheStats:
            return self.cache.stats()

        def encode(self, query: str, documents: Sequence[Any], **options: Any) -> EncodedRequest:
            lease = self.cache.find([b"prefix", *(str(each).encode() for each in documents)])
            encoded: EncodedRequest = super().encode(query, documents, **options)
            for digest, span in zip(lease.digests[1:], encoded.block_spans, strict=True):
                tokens = np.arange(*span, dtype=np.int32)
                new = NewDocument(digest, len(tokens), tokens, (0, len(tokens)), is_cut=False)
                self.cache.commit(filter(None, [self.cache.reserve(new)]))
            return replace(encoded, lease=lease)

    return KeepingRanker
