"""Fills and empties the document cache of a ranker, apart from ranking."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from blockrank_server.models.document_cache.document_cache import CacheStats
from blockrank_server.models.document_cache.store_stats import StoreStats
from blockrank_server.models.engine.document_memory import DocumentMemory
from blockrank_server.models.prompt.document_finder import DocumentFinder
from blockrank_server.models.prompt.encoder import AnyEncoder
from blockrank_server.models.prompt.prompt_encoder import Find, PromptEncoder
from blockrank_server.models.prompt.request import (
    Document,
    EncodedRequest,
    check_text,
    titles_and_texts,
)

# Documents are computed by ranking them; what for is of no importance.
_QUERY = "fill"


class KnownDocuments:
    """Holds what a ranker has computed of documents. Thread-safe.

    In every method, documents are strings or {title, text}, as Ranker.encode takes them, and have
    the same limit and salt as there: with others they are other documents.

    Args:
        runs_as: what sets the numbers of the ranker apart from those of others.
    """

    def __init__(self, encoder: AnyEncoder, memory: DocumentMemory, runs_as: Sequence[str]) -> None:
        assert isinstance(encoder, PromptEncoder)  # documents of others cannot be kept
        self._encoder, self._memory = encoder, memory
        load = None if memory.disk is None else memory.disk.load
        names = [*runs_as, *memory.names]
        self._finder = DocumentFinder(memory.cache, encoder.card, names, load)
        self.find = self._finder.find

    @property
    def max_together(self) -> int:
        """Count the documents that can be computed at once, and all of them be stored."""
        # Those that wait to be written may take half of the memory, and the prefix is one more.
        return max(1, min(self._encoder.card.limits.max_documents, self._memory.max_documents // 4))

    @contextmanager
    def rehearsing(self) -> Iterator[Find]:
        """Give what finds only documents of the block, which are forgotten and never stored.

        There may be no other requests meanwhile.
        """
        self.flush()  # what waits for the disk is forgotten, too
        disk, self._memory.disk = self._memory.disk, None
        try:
            yield DocumentFinder(self._memory.cache, self._encoder.card, ["rehearsal"]).find
        finally:
            self._memory.disk = disk
            self._memory.cache.clear()

    def encode(
        self,
        documents: Sequence[Document],
        *,
        max_document_tokens: int | None = None,
        truncate: bool = True,
        salt: str = "",
    ) -> EncodedRequest:
        """Make a request after whose scoring the documents are known, as Ranker.encode does.

        Raises:
            InputError: or a subclass, which names the field, the limit and the value.
        """
        check_text(salt, "cache_salt")
        find = partial(self.find, salt=salt, accepts_cut=truncate)
        return self._encoder.encode(
            _QUERY,
            documents,
            max_document_tokens=max_document_tokens,
            truncate=truncate,
            find=find,
        )

    def are_known(
        self,
        documents: Sequence[Document],
        *,
        max_document_tokens: int | None = None,
        salt: str = "",
    ) -> list[bool]:
        """Say of each document whether it is kept, in memory or on disk, without reading it.

        Raises:
            InputError: or a subclass, as of encode.
        """
        return self._are_known(self._digests(documents, max_document_tokens, salt))

    def are_stored(
        self,
        documents: Sequence[Document],
        *,
        max_document_tokens: int | None = None,
        salt: str = "",
    ) -> list[bool]:
        """Say of each document whether it is on disk, without reading it.

        Raises:
            InputError: or a subclass, as of encode.
        """
        return self._are_stored(self._digests(documents, max_document_tokens, salt))

    def count_in_memory(self, request: EncodedRequest) -> int:
        """Count the documents of a request that are known in memory now."""
        return self._memory.cache.count_known(request.lease.digests[1:]) if request.lease else 0

    def forget(
        self,
        documents: Sequence[Document],
        *,
        max_document_tokens: int | None = None,
        salt: str = "",
    ) -> int:
        """Let go of documents in memory and on disk, and count those that were known.

        One that is being computed or read at this moment may be known again a moment later.

        Raises:
            InputError: or a subclass, as of encode.
            OSError: a file cannot be deleted.
        """
        digests = self._digests(documents, max_document_tokens, salt)
        were_known = self._are_known(digests)
        self._memory.cache.forget(digests)
        if self._memory.disk is not None:
            self._memory.disk.delete(digests)
        return sum(were_known)

    def stats(self) -> CacheStats:
        """Say what the memory has done and holds."""
        return self._memory.cache.stats()

    def store_stats(self) -> StoreStats:
        """Say what the store has done and holds: nothing, where there is none."""
        return StoreStats() if self._memory.disk is None else self._memory.disk.stats()

    def flush(self) -> None:
        """Wait until everything that waits for the disk is written."""
        if self._memory.disk is not None:
            self._memory.disk.flush()

    def close(self, timeout_s: float) -> bool:
        """Write what waits for the disk, and say whether that could be done in time."""
        return self._memory.disk is None or self._memory.disk.close(timeout_s)

    def _are_known(self, digests: Sequence[bytes]) -> list[bool]:
        cache = self._memory.cache
        return [
            is_stored or bool(cache.count_known([digest]))
            for digest, is_stored in zip(digests, self._are_stored(digests), strict=True)
        ]

    def _are_stored(self, digests: Sequence[bytes]) -> list[bool]:
        disk = self._memory.disk
        return [disk is not None and disk.has(digest) for digest in digests]

    def _digests(
        self, documents: Sequence[Document], max_document_tokens: int | None, salt: str
    ) -> list[bytes]:
        pairs = titles_and_texts(documents, max_documents=self._encoder.card.limits.max_documents)
        return self._finder.digests(pairs, self._encoder.document_limit(max_document_tokens), salt)
