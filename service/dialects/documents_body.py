"""Describes bodies and answers of POST and DELETE /documents."""

from typing import Any

from pydantic import Field
from typing_extensions import TypedDict

from blockrank_server.models.prompt.request import Document
from blockrank_server.service.dialects.documents import as_documents
from blockrank_server.service.dialects.fields import CacheSalt, Count, RequestBody, Truncate
from blockrank_server.service.dialects.request import is_blank
from blockrank_server.service.errors import EmptyFieldError, InvalidFieldError

_SAME = "As in /rerank; documents are found again only with the same."


class FilledDocuments(TypedDict):
    """Counts what became of the documents.

    `blank` ones hold nothing to compute. All others were `known` or are `computed` now, of which
    `truncated` ones lost their end. `kept` are those that are in memory now: fewer where it is too
    small, or full of what requests are using.
    """

    documents: int
    known: int
    computed: int
    kept: int
    truncated: int
    blank: int


class ForgottenDocuments(TypedDict):
    """Counts the documents, and those of them that were known."""

    documents: int
    known: int


class DocumentsBody(RequestBody):
    """Names documents as a request to /rerank of the dialect cohere does, without a query."""

    documents: list[Any] = Field(
        description="Strings, or objects: rank_fields, else title and text, else all as YAML."
    )
    rank_fields: list[str] | None = Field(None, description="Fields of object documents to rank.")
    max_tokens_per_doc: Count | None = Field(None, description=_SAME)
    truncate: Truncate = None
    cache_salt: CacheSalt | None = Field(None, repr=False)

    def chosen(self, max_documents: int) -> dict[int, Document]:
        """Return the documents that are not blank, by their index.

        Raises:
            EmptyFieldError: there are none at all.
            InvalidFieldError: there are too many, or one cannot be used.
        """
        if not self.documents:
            raise EmptyFieldError("documents is empty", field="documents")
        if len(self.documents) > max_documents:
            raise InvalidFieldError(
                f"documents holds {len(self.documents)} documents, the limit is {max_documents}",
                field="documents",
            )
        found = as_documents(self.documents, "documents", self.rank_fields or ())
        return {i: document for i, document in enumerate(found) if not is_blank(document)}
