"""Serves POST and DELETE /documents: has documents computed before anybody asks, or forgotten."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from blockrank_server.models.errors import InputError
from blockrank_server.models.prompt.request import Document, EncodedRequest
from blockrank_server.service.api.broken_text import broken_warning
from blockrank_server.service.api.deadline import deadline_too_short, respond
from blockrank_server.service.api.prepared_request import in_callers_words
from blockrank_server.service.api.request_body import read_json
from blockrank_server.service.api.response_headers import WARNING_HEADER
from blockrank_server.service.dialects.documents_body import (
    DocumentsBody,
    FilledDocuments,
    ForgottenDocuments,
)
from blockrank_server.service.errors import InternalError, InvalidFieldError, UnknownPathError
from blockrank_server.service.metrics import Metrics
from blockrank_server.service.middleware.document_salt import document_salt
from blockrank_server.service.middleware.request_record import RequestRecord
from blockrank_server.service.scheduler.admission_queue import HopelessError
from blockrank_server.service.scheduler.model_worker import ModelWorker

if TYPE_CHECKING:
    from blockrank_server.models.any_ranker import AnyRanker
    from blockrank_server.models.known_documents import KnownDocuments

_SPELLING = {"documents": "documents", "max_document_tokens": "max_tokens_per_doc"}
_SALT = "cache_salt"


async def documents(request: Request) -> Response:
    """Fill with the documents of a body, or forget them, as the method says."""
    answers: dict[str, Callable[[Request, bytes], Coroutine[Any, Any, Response]]] = {
        "POST": _fill,
        "DELETE": _forget,
    }
    return await respond(request, answers[request.method])


async def _fill(request: Request, raw: bytes) -> Response:
    worker: ModelWorker = request.app.state.worker
    record: RequestRecord = request.state.record
    metrics: Metrics = request.app.state.metrics
    work = _Work(raw, worker.ranker, record)
    try:
        await worker.score(work.encode, deadline_s=record.deadline_s)
    except HopelessError as error:
        raise deadline_too_short(error, record, _SPELLING) from error
    except InputError as error:
        raise in_callers_words(error, _SPELLING, work.places) from error
    answer = work.filled()
    for outcome in ("known", "computed", "truncated", "blank"):
        metrics.filled(outcome, answer[outcome])
    return work.response(answer)


async def _forget(request: Request, raw: bytes) -> Response:
    worker: ModelWorker = request.app.state.worker
    work = _Work(raw, worker.ranker, request.state.record)
    try:
        answer = await worker.prepare(work.forget)
    except InputError as error:
        raise in_callers_words(error, _SPELLING, work.places) from error
    request.app.state.metrics.filled("forgotten", answer["known"])
    return work.response(answer)


class _Work:
    """Does what a tokenising thread does with a body.

    Attributes:
        places: indices of the documents that are not blank, once the body is read.
    """

    def __init__(self, raw: bytes, ranker: "AnyRanker", record: RequestRecord) -> None:
        self._raw, self._ranker, self._record = raw, ranker, record
        self.places: list[int] = []
        self._warnings: list[str] = []
        self._encoded: EncodedRequest | None = None
        self._num_known = 0

    def encode(self) -> EncodedRequest | None:
        """Return what is to be computed, if anything is.

        Raises:
            ServiceError, InputError: the body is refused.
        """
        known, body, found = self._read()
        if not found:
            return None
        self._encoded = known.encode(
            found,
            max_document_tokens=body.max_tokens_per_doc,
            truncate=body.truncate != "NONE",
            salt=document_salt(self._record, body.cache_salt or ""),
        )
        self._num_known = self._encoded.num_known_documents
        return self._encoded

    def forget(self) -> ForgottenDocuments:
        """Forget the documents of the body.

        Raises:
            ServiceError, InputError: the body is refused, or the disk does not delete.
        """
        known, body, found = self._read()
        salt = document_salt(self._record, body.cache_salt or "")
        num_known = 0
        if found:
            try:
                num_known = known.forget(
                    found, max_document_tokens=body.max_tokens_per_doc, salt=salt
                )
            except OSError as error:
                raise InternalError("Documents could not be deleted from disk") from error
        return {"documents": self._record.num_documents, "known": num_known}

    def filled(self) -> FilledDocuments:
        """Count what became of the documents; they are computed now."""
        encoded, known = self._encoded, self._ranker.documents
        num_chosen = encoded.num_documents if encoded else 0
        return {
            "documents": self._record.num_documents,
            "known": self._num_known,
            "computed": num_chosen - self._num_known,
            "kept": known.count_in_memory(encoded) if encoded and known else 0,
            "truncated": len(encoded.truncated_documents) if encoded else 0,
            "blank": self._record.num_documents - num_chosen,
        }

    def response(self, answer: FilledDocuments | ForgottenDocuments) -> Response:
        headers = {WARNING_HEADER: "; ".join(self._warnings)} if self._warnings else {}
        return Response(orjson.dumps(answer), headers=headers, media_type="application/json")

    def _why_not(self) -> str:
        if (card := self._ranker.card).reusable_documents:
            return "document_cache_bytes is 0, or auto where too little memory was free"
        return f"those of the card {card.name!r} depend on the query or on their place in the list"

    def _read(self) -> "tuple[KnownDocuments, DocumentsBody, list[Document]]":
        if (known := self._ranker.documents) is None:
            raise UnknownPathError(f"No documents are kept here: {self._why_not()}")
        fields, broken = read_json(self._raw)
        if any(place.field == _SALT for place in broken):
            raise InvalidFieldError(f"{_SALT} holds text that is not Unicode", field=_SALT)
        if broken:
            self._warnings.append(broken_warning(broken, DocumentsBody.model_fields))
        body = DocumentsBody.read(fields)
        chosen = body.chosen(self._ranker.card.limits.max_documents)
        self.places = list(chosen)
        self._record.num_documents = len(body.documents)
        return known, body, list(chosen.values())
