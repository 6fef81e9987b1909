"""Turns a request body into token ids on a tokenising thread, and scores into a result."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from blockrank_server.models.errors import EmptyInputError, InputError
from blockrank_server.models.prompt.chunks import Chunks, best_blocks
from blockrank_server.models.prompt.document_parts import Span
from blockrank_server.models.prompt.explanation import Explanation, explanations
from blockrank_server.models.prompt.request import Document, EncodedRequest, check_query
from blockrank_server.models.reasoning.request import Reasoned, ReasoningRequest
from blockrank_server.service.api.broken_text import Place, broken_warning
from blockrank_server.service.api.encoding import (
    check_model,
    cut_into_chunks,
    for_prompt,
    run_encoder,
)
from blockrank_server.service.api.shown_scores import ShownScores, check_scores
from blockrank_server.service.dialects.base import Dialect
from blockrank_server.service.dialects.request import Cached, RerankRequest, RerankResult, is_blank
from blockrank_server.service.dialects.spellings import ignored_spellings
from blockrank_server.service.errors import (
    EmptyFieldError,
    InvalidFieldError,
    ServiceError,
)

if TYPE_CHECKING:
    from blockrank_server.models.any_ranker import AnyRanker

_SALT = "cache_salt"
_MAX_LISTED = 20  # documents in a warning
_FIELD = re.compile(r"(\w+)(?:\[(\d+)\])?(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """Holds a request that is ready to be scored.

    Attributes:
        dialect: its body, read in the dialect it is written in.
        spelling: translates the Python API's field names into the caller's.
        kept: indices of the documents the model sees, one for each chunk; blank ones are not
            among them.
        encoded: token ids of the documents kept; None if there are none.
        chunks: of the documents kept, where the request asks for them.
    """

    dialect: Dialect
    request: RerankRequest
    spelling: Mapping[str, str]
    kept: tuple[int, ...]
    encoded: EncodedRequest | None
    chunks: Chunks | None = None

    def result(
        self,
        scores: Sequence[float],
        ranker: "AnyRanker",
        *,
        request_id: str,
        level: float = 0.0,
        part_shares: Sequence[float] = (),
    ) -> RerankResult:
        """Return the ranking of all documents.

        Args:
            scores: the raw scores of the documents kept, one for each chunk.
            request_id: the id of the HTTP request, which some dialects send back.
            level: that of the list that the model saw.
            part_shares: those of their parts, where they are to be explained.
        """
        request, encoded = self.request, self.encoded
        all_scores = [0.0] * len(request.documents)
        best = best_blocks(self.kept, scores)
        for index, block in best.items():
            all_scores[index] = scores[block]
        shown = ShownScores.of(request, ranker, all_scores, len(self.kept), level)
        return RerankResult(
            request=request,
            request_id=request_id,
            ranking=tuple(shown.ranking(request)),
            model=ranker.card.name,
            score_type=shown.score_type,
            any_relevant=shown.any_relevant,
            num_tokens=encoded.num_tokens if encoded else 0,
            cached=_cached(encoded),
            warnings=(*request.warnings, *self._cuts()),
            explanations=self._explanations(best, part_shares),
            reasoned=self.reasoned if request.explain else {},
            num_generated_tokens=sum(each.num_tokens for each in self.reasoned.values()),
            chunks=self._told_chunks(best),
            num_more_chunks=len(self.kept) - len(best),
        )

    @property
    def num_documents(self) -> int:
        """Count all documents, blank ones too, and every chunk as one."""
        return len(self.request.documents) + len(self.kept) - len(set(self.kept))

    @property
    def truncated_documents(self) -> list[int]:
        """Return the indices of the documents that lost something."""
        found = set(self.encoded.truncated_documents) if self.encoded else set()
        return sorted({self.kept[i] for i in found} | set(self._truncated_at))

    @property
    def _truncated_at(self) -> dict[int, int | None]:
        """Map the documents whose chunks do not hold all of them as Chunks.truncated does."""
        if self.chunks is None:
            return {}
        places = [i for i, _ in groupby(self.kept)]  # those of chunks stand side by side
        return {places[i]: at for i, at in self.chunks.truncated.items()}

    @property
    def reasoned(self) -> dict[int, Reasoned]:
        """Return the chains of reasoning by index, once there are scores; else, or none, empty."""
        found = self.encoded.reasoned if isinstance(self.encoded, ReasoningRequest) else []
        return dict(zip(self.kept, found, strict=False))

    def _explanations(
        self, best: Mapping[int, int], part_shares: Sequence[float]
    ) -> dict[int, Explanation]:
        if self.encoded is None or not self.encoded.parts:
            return {}
        found = explanations(self.encoded, part_shares)
        if self.chunks is None:
            return {index: found[block] for index, block in best.items()}
        spans, cut = self.chunks.spans, self._truncated_at
        return {
            index: found[block].of_chunk(spans[block][0], cut.get(index))
            for index, block in best.items()
        }

    def _told_chunks(self, best: Mapping[int, int]) -> dict[int, Span]:
        asked = self.request.chunking
        if self.chunks is None or asked is None or not asked.is_told:
            return {}
        return {index: self.chunks.spans[block] for index, block in best.items()}

    def _cuts(self) -> list[str]:
        """Tell each kind of cut in one sentence."""
        encoded = self.encoded
        if encoded is None:
            return []
        found = [f"{self.spelling['query']} was truncated"] if encoded.query_truncated else []
        if encoded.summary_truncated:
            found.append("summary was truncated")
        if cut := self.truncated_documents:
            listed = ", ".join(map(str, cut[:_MAX_LISTED]))
            listed += ", ..." if len(cut) > _MAX_LISTED else ""
            total = len(self.request.documents)
            found.append(f"{len(cut)} of {total} {self.spelling['documents']} truncated: {listed}")
        return found


def prepare_request(
    dialect: type[Dialect],
    body: Mapping[str, Any],
    ranker: "AnyRanker",
    *,
    broken: Sequence[Place] = (),
    strict_model: bool = False,
    salt: Callable[[str], str] = str,
) -> PreparedRequest:
    """Parse and tokenise a body.

    Args:
        broken: where the body held text that is not Unicode.
        salt: makes what salts the documents of the body's cache_salt.

    Raises:
        ServiceError: the body is refused, with a 4xx, in the words of its dialect.
    """
    spelling = dialect.spelling(body)
    _check_length(body.get(spelling["documents"]), spelling, ranker.card.limits.max_documents)
    parsed = dialect.read(body)
    kept: tuple[int, ...] = ()
    try:
        request = parsed.request()
        warnings = (*_on_body(dialect, body, spelling, broken), *request.warnings)
        request = for_prompt(replace(request, warnings=warnings), ranker)
        check_scores(request, ranker)
        check_model(request, ranker, is_strict=strict_model)
        kept = tuple(i for i, document in enumerate(request.documents) if not is_blank(document))
        check_query(request.query)
        documents: Sequence[Document] = [request.documents[i] for i in kept]
        if (chunks := cut_into_chunks(request, documents, ranker)) is not None:
            documents, kept = chunks.documents, tuple(kept[i] for i in chunks.owners)
        encoded = run_encoder(request, documents, ranker, salt(request.cache_salt))
    except InputError as error:
        raise in_callers_words(error, spelling, kept) from error
    return PreparedRequest(parsed, request, spelling, kept, encoded, chunks)


def in_callers_words(
    error: InputError, spelling: Mapping[str, str], kept: Sequence[int]
) -> ServiceError:
    """Translates an error of the model layer: its field as the caller spells and counts it."""
    match = _FIELD.fullmatch(error.field)
    assert match is not None  # it matches every string that begins with a letter
    name, index, rest = match.groups()
    field = spelling.get(name, name)
    field += f"[{kept[int(index)]}]{rest}" if index else rest
    message = str(error).replace(error.field, field)
    return (EmptyFieldError if isinstance(error, EmptyInputError) else InvalidFieldError)(
        message, field=field
    )


def _on_body(
    dialect: type[Dialect],
    body: Mapping[str, Any],
    spelling: Mapping[str, str],
    broken: Sequence[Place],
) -> Iterator[str]:
    """Write sentences on what the dialect does not see of a body."""
    if broken:
        if any(place.field == _SALT for place in broken):  # U+FFFD would make many salts one
            raise InvalidFieldError(f"{_SALT} holds text that is not Unicode", field=_SALT)
        known = {*dialect.query_fields, *dialect.documents_fields, *dialect.model_fields}
        yield broken_warning(broken, known)
    yield from ignored_spellings(body, spelling)


def _cached(encoded: EncodedRequest | None) -> Cached | None:
    if encoded is None or encoded.lease is None:
        return None
    return Cached(encoded.num_known_documents, encoded.num_tokens - encoded.num_computed_tokens)


def _check_length(listed: object, spelling: Mapping[str, str], limit: int) -> None:
    """Refuse an empty or too long list before anything is done for each document."""
    field = spelling["documents"]
    if not isinstance(listed, list):
        return
    if not listed:
        raise EmptyFieldError(f"{field} is empty", field=field)
    if len(listed) > limit:
        raise InvalidFieldError(
            f"{field}: batch size {len(listed)} > maximum allowed batch size {limit}", field=field
        )
