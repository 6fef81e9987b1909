"""Hands a request to the encoder: what the prompt has a place for, and long documents in chunks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from blockrank_server.models.prompt.chunks import Chunks
from blockrank_server.models.prompt.request import Document, EncodedRequest
from blockrank_server.service.dialects.base import no_place
from blockrank_server.service.dialects.request import RerankRequest
from blockrank_server.service.errors import InvalidFieldError, UnknownModelError

if TYPE_CHECKING:
    from blockrank_server.models.any_ranker import AnyRanker


def for_prompt(request: RerankRequest, ranker: "AnyRanker") -> RerankRequest:
    """Leave out summary and instruction, with a warning, where the prompt has no place for them."""
    prompt, summary, instruction = ranker.card.prompt, request.summary, request.instruction
    unused: tuple[str, ...] = ()
    if instruction.strip() and not prompt.takes_instruction:
        unused, instruction = request.instruction_fields, ""
    if summary.strip() and not prompt.takes_summary:
        unused, summary = (*unused, "summary"), ""
    return replace(
        request,
        summary=summary,
        instruction=instruction,
        ignored_fields=(*request.ignored_fields, *unused),
        warnings=(*request.warnings, *map(no_place, unused)),
    )


def cut_into_chunks(
    request: RerankRequest, documents: Sequence[Document], ranker: "AnyRanker"
) -> Chunks | None:
    """Cut documents into chunks, if there are any and the request asks for it.

    Raises:
        InvalidFieldError, InputError: the model has no chunks, or they do not fit its limits.
    """
    if (asked := request.chunking) is None or not documents:
        return None
    if ranker.chunker is None:
        raise InvalidFieldError(
            f"{asked.field} is not for {ranker.card.name}, which reasons about each document: "
            "send chunks as documents of their own",
            field=asked.field,
        )
    return ranker.chunker.cut(
        documents,
        max_document_tokens=request.max_document_tokens,
        max_chunks_per_doc=asked.max_chunks_per_doc,
        truncate=request.truncate,
    )


def run_encoder(
    request: RerankRequest, documents: Sequence[Document], ranker: "AnyRanker", cache_salt: str
) -> EncodedRequest | None:
    """Make token ids of a request with these documents, if there are any.

    Raises:
        InputError: something is too long, or no text.
    """
    if not documents:
        return None
    return ranker.encode(
        request.query,
        documents,
        max_document_tokens=request.max_document_tokens,
        max_query_tokens=request.max_query_tokens,
        truncate=request.truncate,
        summary=request.summary,
        instruction=request.instruction,
        cache_salt=cache_salt,
        explain=request.explain,
    )


def check_model(request: RerankRequest, ranker: "AnyRanker", *, is_strict: bool) -> None:
    """Refuse what the model served does not do, or, if strict, another model's name.

    Raises:
        InvalidFieldError: a stream of a model that writes nothing.
        UnknownModelError: it has another name.
    """
    card = ranker.card
    if request.stream and card.kind != "reasoning":
        raise InvalidFieldError(
            f"stream is true, and {card.name} writes nothing that could be streamed: it is "
            f"of kind {card.kind}, not reasoning",
            field="stream",
        )
    if is_strict and request.model not in (None, card.name):
        raise UnknownModelError(f"model is not {card.name}, the one served", field="model")
