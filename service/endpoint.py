"""Rerank requests: reads the body, keeps the deadline, notices when the client has gone."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from blockrank_server.models.errors import InputError
from blockrank_server.models.request import EncodedRequest
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

if TYPE_CHECKING:
    from blockrank_server.models.ranker import Ranker

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Answer = Callable[[Request, bytes], Coroutine[Any, Any, Response]]
T = TypeVar("T")

# To cancel work that takes less is not worth a task beside each request.
_WATCH_AFTER_S = 0.01


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
    record: RequestRecord = request.state.record
    reading = _Reading(request, raw, shapes, host.ranker)
    scores = await _scores(host, reading, record)
    shortlist, ranker = reading.shortlist, reading.ranker
    result = shortlist.result(scores, ranker, request_id=record.request_id)
    content = orjson.dumps(shortlist.shape.render(result))
    headers = answer_headers(result, record, ranker.info)
    return Response(content, headers=headers, media_type="application/json")


async def _scores(host: ModelHost, reading: "_Reading", record: RequestRecord) -> list[float]:
    try:
        scored = await host.score(reading, deadline_s=record.deadline_s)
    except InputError as error:
        shortlist = reading.shortlist
        raise in_callers_words(error, shortlist.spelling, shortlist.kept) from error
    except InferenceError as error:
        raise reading.shortlist.shape.inference_failed(str(error)) from error
    if scored is None:
        return []
    record.queue_s, record.infer_s = scored.queue_s, scored.infer_s
    record.scored_s = time.perf_counter()
    reading.metrics.scored(
        num_documents=len(scored.scores),
        num_tokens=record.num_tokens,
        queue_s=scored.queue_s,
        infer_s=scored.infer_s,
    )
    return scored.scores


class _Reading:
    """What a tokenising thread does with a body; its shortlist is there afterwards.

    Args:
        request: whose body it is.
        raw: the body.
        shapes: on its path.
        ranker: that will score it.
    """

    shortlist: Shortlist

    def __init__(
        self, request: Request, raw: bytes, shapes: Sequence[type[Shape]], ranker: "Ranker"
    ) -> None:
        self._headers, self._raw, self._shapes = request.headers, raw, shapes
        self._record: RequestRecord = request.state.record
        self._is_strict: bool = request.app.state.settings.strict_model
        self._started_s = time.perf_counter()
        self.metrics: Metrics = request.app.state.metrics
        self.ranker = ranker

    def __call__(self) -> EncodedRequest | None:
        """What is to be scored, if anything is.

        Raises:
            ServiceError: of the 4xx kind, in the words of the body's shape.
        """
        body = read_json(self._raw)
        shape = shape_of(body, self._headers, self._shapes)
        self._record.shape = shape.name
        self.shortlist = make_shortlist(shape, body, self.ranker, strict_model=self._is_strict)
        self._count()
        return self.shortlist.encoded

    def _count(self) -> None:
        record, encoded = self._record, self.shortlist.encoded
        record.tokenized_s = time.perf_counter()
        record.tokenize_s = record.tokenized_s - self._started_s
        record.num_documents = len(self.shortlist.request.documents)
        record.num_tokens = encoded.num_tokens if encoded else 0
        self.metrics.ignored(self.shortlist.request.ignored_fields)
        self.metrics.encoded(
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
    gone: asyncio.Task[None] | None = None
    is_over = False

    def stop(_: asyncio.Task[None]) -> None:
        if not is_over:
            waiting.cancel()

    def watch() -> None:
        nonlocal gone
        gone = asyncio.create_task(_disconnect(request))
        gone.add_done_callback(stop)

    timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, watch)
    try:
        return await work
    except asyncio.CancelledError:
        if gone is None or not gone.done():
            raise  # it was somebody else: the deadline, or the server's end
        waiting.uncancel()
        raise ClientDisconnect from None
    finally:
        is_over = True
        timer.cancel()
        if gone is not None:
            gone.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
