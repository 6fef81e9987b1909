"""Serves POST /rerank: from a body to a ranking, in the words of the body's dialect."""

import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from blockrank_server.models.errors import InputError
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.api.deadline import deadline_too_short, respond
from blockrank_server.service.api.dialect_body import read_body_of_dialect
from blockrank_server.service.api.fallback import input_order
from blockrank_server.service.api.prepared_request import (
    PreparedRequest,
    in_callers_words,
    prepare_request,
)
from blockrank_server.service.api.response_headers import response_headers
from blockrank_server.service.dialects.base import Dialect
from blockrank_server.service.errors import InferenceError, ServiceError
from blockrank_server.service.metrics import CachedShare, Metrics
from blockrank_server.service.middleware.document_salt import document_salt
from blockrank_server.service.middleware.request_record import RequestRecord
from blockrank_server.service.scheduler.admission_queue import HopelessError
from blockrank_server.service.scheduler.job import Scored
from blockrank_server.service.scheduler.model_worker import ModelWorker

if TYPE_CHECKING:
    from blockrank_server.models.any_ranker import AnyRanker

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def rerank_as(dialects: Sequence[type[Dialect]]) -> Handler:
    """Make the handler of a path that takes bodies of these dialects."""

    async def rank(request: Request, raw: bytes) -> Response:
        return await _rank(request, raw, dialects)

    async def rerank(request: Request) -> Response:
        request.state.record.is_rerank = True
        try:
            return await respond(request, rank)
        except ServiceError as error:
            if (given := await input_order(request, dialects, error)) is None:
                raise
            return given

    return rerank


async def _rank(request: Request, raw: bytes, dialects: Sequence[type[Dialect]]) -> Response:
    worker: ModelWorker = request.app.state.worker
    record: RequestRecord = request.state.record
    reading = _Reading(request, raw, dialects, worker.ranker)
    scored = await _scored(worker, reading, record)
    prepared, ranker = reading.prepared, reading.ranker
    result = prepared.result(
        scored.scores,
        ranker,
        request_id=record.request_id,
        level=scored.level,
        part_shares=scored.part_shares,
    )
    content = orjson.dumps(prepared.dialect.render(result))
    headers = response_headers(result, record, ranker.info)
    return Response(content, headers=headers, media_type="application/json")


async def _scored(worker: ModelWorker, reading: "_Reading", record: RequestRecord) -> Scored:
    try:
        scored = await worker.score(reading, deadline_s=record.deadline_s)
    except HopelessError as error:
        prepared = reading.prepared
        has_chunks = prepared.chunks is not None
        raise deadline_too_short(error, record, prepared.spelling, has_chunks=has_chunks) from error
    except InputError as error:
        prepared = reading.prepared
        raise in_callers_words(error, prepared.spelling, prepared.kept) from error
    except InferenceError as error:
        raise reading.prepared.dialect.inference_failed(str(error)) from error
    if not scored.scores:
        return scored
    record.queue_s, record.infer_s = scored.queue_s, scored.infer_s
    record.scored_s = time.perf_counter()
    encoded = reading.prepared.encoded
    assert encoded is not None
    # Batches since it was read may have made more of them known.
    record.cached = CachedShare.of(encoded.num_known_documents, encoded.num_documents)
    reading.metrics.scored(
        num_documents=len(scored.scores),
        num_tokens=record.num_tokens,
        queue_s=scored.queue_s,
        infer_s=scored.infer_s,
        cached=record.cached,
    )
    reading.metrics.reasoned(reading.prepared.reasoned.values())
    return scored


class _Reading:
    """Does what a tokenising thread does with a body; `prepared` is there afterwards.

    Args:
        dialects: those that are spoken on its path.
    """

    prepared: PreparedRequest

    def __init__(
        self, request: Request, raw: bytes, dialects: Sequence[type[Dialect]], ranker: "AnyRanker"
    ) -> None:
        self._headers, self._raw, self._dialects = request.headers, raw, dialects
        self._record: RequestRecord = request.state.record
        self._is_strict: bool = request.app.state.settings.strict_model
        self._started_s = time.perf_counter()
        self.metrics: Metrics = request.app.state.metrics
        self.ranker = ranker

    def __call__(self) -> EncodedRequest | None:
        """Return what is to be scored, if anything is.

        Raises:
            ServiceError: the body is refused, with a 4xx, in the words of its dialect.
        """
        body = read_body_of_dialect(self._raw, self._headers, self._dialects)
        self._record.dialect = body.dialect.name
        self.prepared = prepare_request(
            body.dialect,
            body.fields,
            self.ranker,
            broken=body.broken,
            strict_model=self._is_strict,
            salt=partial(document_salt, self._record),
        )
        self._count()
        return self.prepared.encoded

    def _count(self) -> None:
        record, encoded = self._record, self.prepared.encoded
        record.tokenized_s = time.perf_counter()
        record.tokenize_s = record.tokenized_s - self._started_s
        record.num_documents = self.prepared.num_documents
        record.num_tokens = encoded.num_tokens if encoded else 0
        self.metrics.ignored(self.prepared.request.ignored_fields)
        self.metrics.encoded(
            num_documents=record.num_documents,
            num_truncated=len(self.prepared.truncated_documents),
            tokenize_s=record.tokenize_s,
        )
