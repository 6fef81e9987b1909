"""Names documents by their text, to find those whose keys and values are kept.

A digest covers all that keys and values depend on: the checkpoint as it runs, the card, the limit
at which documents are cut, title and text. So a known document is not even tokenised.
"""

from collections.abc import Sequence
from hashlib import blake2b

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.document_cache.document_cache import DocumentCache, Lease

_FORMAT = "1"  # another number where what is kept of a document changes


class DocumentFinder:
    """Looks for the documents of requests in the cache. Thread-safe.

    Args:
        runs_as: revision of the checkpoint, dtype, and whatever else sets numbers apart.
    """

    def __init__(self, cache: DocumentCache, card: Card, runs_as: Sequence[str]) -> None:
        self._cache = cache
        # More than documents depend on, but a changed card is a rare event.
        fields = card.model_dump_json(exclude={"name", "description", "source"})
        self._base = blake2b(digest_size=32)
        for part in (_FORMAT, *runs_as, fields):
            self._base.update(_framed(part))
        self._prefix = self._base.digest()

    def find(
        self,
        documents: Sequence[tuple[str, str]],
        max_document_tokens: int,
        *,
        salt: str = "",
        accepts_cut: bool = True,
    ) -> Lease:
        """Look for the prefix and for documents.

        Args:
            documents: pairs of title and text, both Unicode.
            max_document_tokens: the limit at which they are cut.
            salt: finds only what was asked for with the same salt.
            accepts_cut: also finds documents whose end was cut off.
        """
        base = self._base.copy()
        base.update(_framed(str(max_document_tokens)) + _framed(salt))
        digests = [self._prefix]
        for title, text in documents:
            name = base.copy()
            name.update(_framed(title))
            name.update(text.encode())
            digests.append(name.digest())
        return self._cache.find(digests, accepts_cut=accepts_cut)


def finder(
    cache: DocumentCache | None, card: Card, runs_as: Sequence[str]
) -> DocumentFinder | None:
    """Make the finder of a cache; None where no documents are kept."""
    return None if cache is None else DocumentFinder(cache, card, runs_as)


def _framed(part: str) -> bytes:
    """Put the length in front, so that no two lists of parts are the same bytes."""
    value = part.encode()
    return len(value).to_bytes(8, "little") + value
