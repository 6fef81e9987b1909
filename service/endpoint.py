"""Rerank requests: reads the body, keeps the deadline, notices when the client has gone."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from blockrank_server.models.errors import InputError
from blockrank_server.service.answer_headers import answer_headers
from blockrank_server.service.body import read_body
from blockrank_server.service.errors import (
    BadJsonError,
    DeadlineError,
    InferenceError,
    InvalidFieldError,
)
from blockrank_server.service.metrics import CLIENT_GONE, Metrics
from blockrank_server.service.model_host import ModelHost
from blockrank_server.service.request_log import RequestRecord
from blockrank_server.service.settings import Settings
from blockrank_server.service.shape import Shape
from blockrank_server.service.shapes import shape_of
from blockrank_server.service.shortlist import Shortlist, in_callers_words, make_shortlist

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Answer = Callable[[Request, bytes], Coroutine[Any, Any, Response]]
T = TypeVar("T")


def rerank_as(shapes: Sequence[type[Shape]]) -> Handler:
    """The handler of a path that takes bodies of these shapes."""

    async def rank(request: Request, raw: bytes) -> Response:
        return await _rank(request, raw, shapes)

    async def rerank(request: Request) -> Response:
        request.state.record.is_rerank = True
        return await respond(request, rank)

    return rerank


async def respond(request: Request, answer: Answer) -> Response:
    """The answer to a body, before its deadline and while its client waits.

    Args:
        request: not read yet.
        answer: given the request and its body.

    Raises:
        ServiceError: of any kind.
    """
    settings: Settings = request.app.state.settings
    timeout_ms = _timeout_ms(request, settings.request_timeout_ms)
    request.state.record.deadline_s = time.monotonic() + timeout_ms / 1000
    # Asked now, so that a request that came before SIGTERM is answered; raised with the body read,
    # because a client that still sends sees a broken connection instead of the error.
    refusal = request.app.state.host.refusal()
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            raw = await read_body(request, settings.max_body_bytes)
            if refusal is not None:
                raise refusal
            return await _unless_gone(request, answer(request, raw))
    except TimeoutError:
        raise DeadlineError(f"No answer within {timeout_ms} ms") from None
    except ClientDisconnect:
        return Response(status_code=CLIENT_GONE)


async def _rank(request: Request, raw: bytes, shapes: Sequence[type[Shape]]) -> Response:
    host: ModelHost = request.app.state.host
    settings: Settings = request.app.state.settings
    record: RequestRecord = request.state.record
    ranker = host.ranker

    def prepare() -> Shortlist:
        body = read_json(raw)
        shape = shape_of(body, request.headers, shapes)
        record.shape = shape.name
        return make_shortlist(shape, body, ranker, strict_model=settings.strict_model)

    started_s = time.perf_counter()
    shortlist = await host.prepare(prepare)
    record.tokenized_s = time.perf_counter()
    record.tokenize_s = record.tokenized_s - started_s
    _count(shortlist, record, request.app.state.metrics)
    scores = await _scores(host, shortlist, record)
    result = shortlist.result(scores, ranker, request_id=record.request_id)
    content = orjson.dumps(shortlist.shape.render(result))
    headers = answer_headers(result, record, ranker.info)
    return Response(content, headers=headers, media_type="application/json")


async def _scores(host: ModelHost, shortlist: Shortlist, record: RequestRecord) -> list[float]:
    if shortlist.encoded is None:
        return []
    try:
        scored = await host.score(shortlist.encoded, deadline_s=record.deadline_s)
    except InputError as error:
        raise in_callers_words(error, shortlist.spelling, shortlist.kept) from error
    except InferenceError as error:
        raise shortlist.shape.inference_failed(str(error)) from error
    record.queue_s, record.infer_s = scored.queue_s, scored.infer_s
    record.scored_s = time.perf_counter()
    return scored.scores


def _count(shortlist: Shortlist, record: RequestRecord, metrics: Metrics) -> None:
    encoded = shortlist.encoded
    record.num_documents = len(shortlist.request.documents)
    record.num_tokens = encoded.num_tokens if encoded else 0
    metrics.ignored(shortlist.request.ignored_fields)
    metrics.encoded(
        num_documents=record.num_documents,
        num_truncated=len(encoded.truncated_documents) if encoded else 0,
        tokenize_s=record.tokenize_s,
    )


def _timeout_ms(request: Request, limit: int) -> int:
    given = request.headers.get(TIMEOUT_HEADER)
    if given is None:
        return limit
    if not (given.isascii() and given.isdigit() and len(given) < 18 and int(given) > 0):
        raise InvalidFieldError(
            f"{TIMEOUT_HEADER} is not a whole number above 0", field=TIMEOUT_HEADER
        )
    return min(limit, int(given))


def read_json(raw: bytes) -> dict[str, Any]:
    """A body. 16 MB take 40 ms: off the event loop, though orjson keeps the interpreter.

    Raises:
        BadJsonError: it is not a JSON object.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadJsonError(f"body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadJsonError("body is not a JSON object")
    return body


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of work, which is cancelled when the client goes first.

    Raises:
        ClientDisconnect: the client has gone.
    """
    waiting = asyncio.current_task()
    assert waiting is not None
    gone = asyncio.create_task(_disconnect(request))
    is_over = False

    def stop(_: asyncio.Task[None]) -> None:
        if not is_over:
            waiting.cancel()

    gone.add_done_callback(stop)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone.done():  # it was somebody else: the deadline, or the server's end
            raise
        waiting.uncancel()
        raise ClientDisconnect from None
    finally:
        is_over = True
        gone.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
