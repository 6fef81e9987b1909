"""What a search engine must do here; one contract test holds for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rerank_search.documents import Document


@dataclass(frozen=True, slots=True)
class Hit:
    """A document found.

    Attributes:
        document: has a title and a text.
        score: is given by the stage that ordered the hits; it compares hits of one answer only,
            and higher is better.
    """

    document: Document
    score: float


class SearchError(Exception):
    """The search engine or the reranker gave no answer; its text is shown to the caller.

    Args:
        message: holds no text of a document.
        retry_after_s: whole seconds until another try makes sense, if known.
    """

    def __init__(self, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SearchBackend(Protocol):
    """A first stage that finds, and a second that reorders what was found."""

    def replace(self, documents: Sequence[Document]) -> None:
        """Make these the only documents that can be found, from the return on.

        Raises:
            SearchError: the engine refused or cannot be reached.
        """

    def search(self, query: str, num_hits: int) -> list[Hit]:
        """The documents that share words with the query, best first, at most num_hits.

        A query is plain text: no character in it is an operator.

        Raises:
            SearchError: the engine refused or cannot be reached.
        """

    def search_reranked(self, query: str, num_hits: int, num_candidates: int) -> list[Hit]:
        """The best num_hits by the reranker out of the first stage's best num_candidates.

        Raises:
            SearchError: the engine refused or cannot be reached, or the reranker gave no answer.
        """
