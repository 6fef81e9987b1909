"""From a request body to token ids, and from scores to a result. Runs on a tokenising thread."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blockrank_server.models.errors import EmptyInputError, InputError
from blockrank_server.models.request import EncodedRequest, check_query
from blockrank_server.service.errors import (
    EmptyFieldError,
    InvalidFieldError,
    ServiceError,
    UnknownModelError,
)
from blockrank_server.service.rerank import RerankRequest, RerankResult, is_blank, rank, text_of
from blockrank_server.service.shapes import Shape

if TYPE_CHECKING:
    from blockrank_server.models.ranker import Ranker

_FIELD = re.compile(r"(\w+)(?:\[(\d+)\])?(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Shortlist:
    """A request ready to be scored.

    Attributes:
        request: what the caller asked for.
        kept: indices of the documents the model sees; blank ones are not among them.
        encoded: token ids of the documents kept; None if there are none.
    """

    request: RerankRequest
    kept: tuple[int, ...]
    encoded: EncodedRequest | None

    def result(self, scores: Sequence[float], ranker: "Ranker") -> RerankResult:
        """The ranking of all documents.

        Args:
            scores: raw scores of the documents kept.
            ranker: that gave them.
        """
        request, encoded = self.request, self.encoded
        all_scores = [0.0] * len(request.documents)
        for index, score in zip(self.kept, scores, strict=True):
            all_scores[index] = score
        max_score = None if request.raw_scores else ranker.max_score
        cut = encoded.truncated_documents if encoded else ()
        return RerankResult(
            ranking=tuple(rank(all_scores, max_score=max_score, top_n=request.top_n)),
            model=ranker.card.name,
            num_documents=len(request.documents),
            num_tokens=encoded.num_tokens if encoded else 0,
            truncated_documents=tuple(self.kept[i] for i in cut),
            query_truncated=encoded is not None and encoded.query_truncated,
            texts=tuple(map(text_of, request.documents)) if request.return_documents else (),
        )


def make_shortlist(
    shape: Shape, body: Mapping[str, Any], ranker: "Ranker", *, strict_model: bool = False
) -> Shortlist:
    """Parse and tokenise a body.

    Raises:
        ServiceError: of the 4xx kind, in the words of the body's shape.
    """
    _check_length(shape, body, ranker.card.limits.max_documents)
    request = shape.parse(body)
    if strict_model and request.model not in (None, ranker.card.name):
        raise UnknownModelError(f"model is not {ranker.card.name}, the one served", field="model")
    kept = tuple(i for i, document in enumerate(request.documents) if not is_blank(document))
    try:
        check_query(request.query)
        encoded = _encode(request, kept, ranker) if kept else None
    except InputError as error:
        raise in_callers_words(error, shape, kept) from error
    return Shortlist(request, kept, encoded)


def in_callers_words(error: InputError, shape: Shape, kept: Sequence[int]) -> ServiceError:
    """An error of the model layer with its field as the caller spells and counts it."""
    match = _FIELD.fullmatch(error.field)
    assert match is not None  # it matches every string that begins with a letter
    name, index, rest = match.groups()
    field = shape.spelling.get(name, name)
    field += f"[{kept[int(index)]}]{rest}" if index else rest
    message = str(error).replace(error.field, field)
    return (EmptyFieldError if isinstance(error, EmptyInputError) else InvalidFieldError)(
        message, field=field
    )


def _encode(request: RerankRequest, kept: Sequence[int], ranker: "Ranker") -> EncodedRequest:
    return ranker.encode(
        request.query,
        [request.documents[i] for i in kept],
        max_document_tokens=request.max_document_tokens,
        max_query_tokens=request.max_query_tokens,
        truncate=request.truncate,
    )


def _check_length(shape: Shape, body: Mapping[str, Any], limit: int) -> None:
    """Before anything is done for each document."""
    field = shape.spelling.get("documents", "documents")
    listed = body.get(field)
    if not isinstance(listed, list):
        return
    if not listed:
        raise EmptyFieldError(f"{field} is empty", field=field)
    if len(listed) > limit:
        raise InvalidFieldError(
            f"{field}: batch size {len(listed)} > maximum allowed batch size {limit}", field=field
        )
