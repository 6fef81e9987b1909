"""Computes the documents of a file into a document store, for the command precompute."""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tqdm import tqdm

from blockrank_server.models.engine.host_memory import keep_freed_memory
from blockrank_server.models.errors import RankerError
from blockrank_server.models.prompt.request import Document
from blockrank_server.service.cli.document_lines import read_lines
from blockrank_server.service.cli.exit_codes import OK
from blockrank_server.service.open_ranker import OpenRanker, open_ranker
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.known_documents import KnownDocuments
    from blockrank_server.models.ranker import Ranker

_CLOSE_S = 60.0


def precompute_file(
    options: argparse.Namespace, settings: Settings, open_ranker: OpenRanker = open_ranker
) -> int:
    """Compute what the store does not hold, and print what was done.

    Args:
        settings: name a document store.

    Raises:
        UsageError: the file cannot be read, or holds no document.
        RankerError: the model cannot be opened, or documents cannot be written.
    """
    documents = [line.document for line in read_lines(options.file, options.format)]
    keep_freed_memory()
    ranker = open_ranker(settings)
    assert ranker.documents is not None  # a store has a memory in front of it
    work = _Work(ranker, ranker.documents, options.max_tokens_per_doc)
    try:
        with tqdm(total=len(documents), unit="document", disable=None) as bar:
            for part in _parts(documents, work.num_together(settings.max_batch_tokens)):
                work.compute(part)
                bar.set_postfix_str(f"{work.tokens_per_s:.0f} tokens/s", refresh=False)
                bar.update(len(part))
    finally:
        work.known.close(_CLOSE_S)
    print(work.report(len(documents)))
    return OK


@dataclass(slots=True)
class _Work:
    """Counts what is computed."""

    ranker: "Ranker"
    known: "KnownDocuments"
    max_document_tokens: int | None
    num_known: int = 0
    num_computed: int = 0
    num_cut: int = 0
    num_tokens: int = 0
    started_s: float = field(default_factory=time.perf_counter)

    def num_together(self, max_batch_tokens: int) -> int:
        """Count the documents of one pass, which the longest of them do not make too large."""
        longest = self.max_document_tokens or self.ranker.card.limits.max_document_tokens
        return max(1, min(self.known.max_together, max_batch_tokens // longest))

    def compute(self, documents: Sequence[Document]) -> None:
        """Compute those documents that are not in the store, and wait until they are.

        Raises:
            RankerError: they cannot be written.
        """
        limit = self.max_document_tokens
        are_stored = self.known.are_stored(documents, max_document_tokens=limit)
        new = [each for each, is_there in zip(documents, are_stored, strict=True) if not is_there]
        self.num_known += len(documents) - len(new)
        if not new:
            return
        request = self.known.encode(new, max_document_tokens=limit)
        num_tokens = request.num_computed_tokens
        self.ranker.score([request])
        self.known.flush()
        stats = self.known.store_stats()
        if num_failed := stats.failures["write"] + stats.failures["other"] + stats.dropped:
            raise RankerError(f"{num_failed} documents could not be written to the document store")
        self.num_computed += len(new)
        self.num_cut += len(request.truncated_documents)
        self.num_tokens += num_tokens

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started_s

    @property
    def tokens_per_s(self) -> float:
        return self.num_tokens / self.seconds

    def report(self, num_documents: int) -> str:
        stats = self.known.store_stats()
        told = (
            f"{num_documents} documents: {self.num_known} known before, {self.num_computed} "
            f"computed ({self.num_cut} of them cut) in {self.seconds:.1f} s, "
            f"{self.num_computed / self.seconds:.1f} documents/s, {self.tokens_per_s:.0f} "
            f"tokens/s; the store holds {stats.num_entries} of {stats.used_bytes} bytes"
        )
        if stats.evictions:
            told += f", {stats.evictions} gave way: it may hold {stats.max_bytes} bytes"
        return told


def _parts(documents: Sequence[Document], number: int) -> Iterator[Sequence[Document]]:
    for first in range(0, len(documents), number):
        yield documents[first : first + number]
