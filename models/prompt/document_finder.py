"""Names documents by their text, to find those whose keys and values are kept.

A digest covers all that keys and values depend on: the checkpoint as it runs, the card, the limit
at which documents are cut, title and text. So a known document is not even tokenised.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.document_cache.document_cache import DocumentCache, Lease

# (what is not all held yet, whether it may hold documents whose end was cut off)
Load = Callable[[Lease, bool], None]

_FORMAT = "1"  # another number where what is kept of a document changes


class DocumentFinder:
    """Looks for the documents of requests in the cache. Thread-safe.

    Args:
        runs_as: revision of the checkpoint, dtype, and whatever else sets numbers apart.
        load: puts into the cache, and into a lease, what is kept elsewhere.
    """

    def __init__(
        self,
        cache: DocumentCache,
        card: Card,
        runs_as: Sequence[str],
        load: Load | None = None,
    ) -> None:
        self._cache, self._load = cache, load
        # More than documents depend on, but a changed card is a rare event.
        others = dict.fromkeys(("kind", "name", "description", "source", "calibration"), True)
        # Excluded, so that documents kept before there was such a limit are found.
        fields = card.model_dump_json(exclude=others | {"limits": {"max_instruction_tokens"}})
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
        digests = [self._prefix, *self.digests(documents, max_document_tokens, salt)]
        lease = self._cache.find(digests, accepts_cut=accepts_cut)
        if self._load is not None and None in lease.entries:
            self._load(lease, accepts_cut)
        return lease

    def digests(
        self, documents: Sequence[tuple[str, str]], max_document_tokens: int, salt: str = ""
    ) -> list[bytes]:
        """Name documents, as find does."""
        base = self._base.copy()
        base.update(_framed(str(max_document_tokens)) + _framed(salt))
        digests = []
        for title, text in documents:
            name = base.copy()
            name.update(_framed(title))
            name.update(text.encode())
            digests.append(name.digest())
        return digests


def _framed(part: str) -> bytes:
    """Put the length in front, so that no two lists of parts are the same bytes."""
    value = part.encode()
    return len(value).to_bytes(8, "little") + value
