"""Defines what a search engine must do here; one contract test holds for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rerank_search.documents import Document


@dataclass(frozen=True, slots=True)
class Hit:
    """Holds a document that was found.

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
    """Finds documents in a first stage, and reorders what was found in a second."""

    def replace(self, documents: Sequence[Document]) -> None:
        """Make these the only documents that can be found, from the return on.

        Raises:
            SearchError: the engine refused or cannot be reached.
        """

    def search(self, query: str, num_hits: int) -> list[Hit]:
        """Find at most num_hits documents that share words with the query, best first.

        A query is plain text: no character in it is an operator.

        Raises:
            SearchError: the engine refused or cannot be reached.
        """

    def search_reranked(self, query: str, num_hits: int, num_candidates: int) -> list[Hit]:
        """Take the best num_hits by the reranker out of the first stage's best num_candidates.

        Raises:
            SearchError: the engine refused or cannot be reached, or the reranker gave no answer.
        """
