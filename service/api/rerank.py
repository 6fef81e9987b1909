"""Serves POST /rerank: from a body to a ranking, in the words of the body's dialect."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from blockrank_server.models.errors import InputError
from blockrank_server.service.api.chain_events import ChainEvents
from blockrank_server.service.api.deadline import deadline_too_short, respond
from blockrank_server.service.api.event_stream import answer_or_stream
from blockrank_server.service.api.fallback import input_order
from blockrank_server.service.api.prepared_request import in_callers_words
from blockrank_server.service.api.reading import Reading
from blockrank_server.service.api.response_headers import response_headers
from blockrank_server.service.dialects.base import Dialect
from blockrank_server.service.errors import InferenceError, ServiceError
from blockrank_server.service.metrics import CachedShare
from blockrank_server.service.scheduler.admission_queue import HopelessError
from blockrank_server.service.scheduler.job import Scored

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
    reading = Reading(request, raw, dialects)
    if reading.ranker.card.kind == "reasoning":
        reading.events = events = ChainEvents(asyncio.get_running_loop())
        return await answer_or_stream(_answer(reading), reading, events)
    return await _answer(reading)


async def _answer(reading: Reading) -> Response:
    scored = await _scored(reading)
    prepared, ranker, record = reading.prepared, reading.ranker, reading.record
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


async def _scored(reading: Reading) -> Scored:
    record = reading.record
    try:
        scored = await reading.worker.score(reading, deadline_s=record.deadline_s)
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
