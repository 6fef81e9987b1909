"""Sends chains of reasoning while they are written, as events (text/event-stream).

    delta {index, text}    scored {index, score, ended, read}    done {the answer}    error {...}

The stream begins with the first event, or after a while without one; until then a request that
fails is answered by a status. It ends with done or error.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson
import structlog
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from blockrank_server.service.api.chain_events import ChainEvents, Scored, Wrote
from blockrank_server.service.api.shown_scores import ShownScores
from blockrank_server.service.dialects.request import score_text
from blockrank_server.service.errors import (
    DeadlineError,
    DrainingError,
    InternalError,
    ServiceError,
)
from blockrank_server.service.metrics import CLIENT_GONE
from blockrank_server.service.middleware.unhandled_errors import traceback_of
from blockrank_server.service.scheduler.phase import Phase

if TYPE_CHECKING:
    from blockrank_server.service.api.reading import Reading

MEDIA_TYPE = "text/event-stream"
# Proxies end what is silent; 30 s is the shortest that is common.
KEEP_ALIVE_S = 10.0
_KEEP_ALIVE = b": keep-alive\n\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def answer_or_stream(
    work: Coroutine[Any, Any, Response], reading: "Reading", events: ChainEvents
) -> Response:
    """Return the answer, or where the body asks for it, a stream of events that ends with it.

    Args:
        work: makes the answer.
        reading: knows whether a stream is asked for, once work has read the body.
        events: what work writes meanwhile.

    Raises:
        Whatever work raises before the stream begins.
    """
    task = asyncio.create_task(work)
    try:
        while not await _next(task, events, KEEP_ALIVE_S):
            if reading.is_streamed:
                break
        if task.done() and not (reading.is_streamed and task.exception() is None):
            return task.result()
        return _EventStream(task, reading, events)
    except BaseException:
        _drop(task)
        raise


class _EventStream(StreamingResponse):
    """Sends events until work has its answer, and cancels work if the client goes before."""

    def __init__(
        self, work: "asyncio.Task[Response]", reading: "Reading", events: ChainEvents
    ) -> None:
        model = quote(reading.ranker.card.name)
        super().__init__(
            self._events(), headers={"X-Model": model, **_HEADERS}, media_type=MEDIA_TYPE
        )
        self._work, self._reading, self._chains = work, reading, events
        self._has_ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            _drop(self._work)
            if not self._has_ended:
                self._reading.record.failed_status = CLIENT_GONE

    async def _events(self) -> AsyncIterator[bytes]:
        work, record = self._work, self._reading.record
        try:
            while True:
                is_done = work.done()
                for each in self._chains.take():
                    yield self._event(each)
                if is_done:
                    break
                left_s = record.deadline_s - time.monotonic()
                if left_s <= 0:
                    raise DeadlineError(f"No answer within {record.timeout_ms} ms")
                if not await _next(work, self._chains, min(KEEP_ALIVE_S, left_s)):
                    yield _KEEP_ALIVE
            yield _written("done", orjson.Fragment(bytes(work.result().body)))
            self._has_ended = True
        except asyncio.CancelledError:
            if self._reading.worker.phase is Phase.DRAINING:
                yield self._error(DrainingError())
            raise
        except ServiceError as error:
            yield self._error(error)
        except Exception as error:
            structlog.get_logger(__name__).error(
                "a bug", request_id=record.request_id, traceback=traceback_of(error)
            )
            yield self._error(InternalError("Internal error"))

    def _event(self, told: Wrote | Scored) -> bytes:
        prepared = self._reading.prepared
        index = prepared.kept[told.index]
        if isinstance(told, Wrote):
            return _written("delta", {"index": index, "text": told.text})
        ranker = self._reading.ranker
        [score] = ShownScores.of(prepared.request, ranker, [told.score], 1, 0.0).scores
        shown = orjson.Fragment(score_text(score))
        body = {"index": index, "score": shown, "ended": told.end, "read": told.reading}
        return _written("scored", body)

    def _error(self, error: ServiceError) -> bytes:
        record, self._has_ended = self._reading.record, True
        record.reason, record.failed_status = error.reason, error.status
        return _written("error", error.body(record.request_id))


async def _next(work: "asyncio.Task[Response]", events: ChainEvents, timeout_s: float) -> bool:
    """Wait until work is done or an event has come; False says that neither came in time."""
    arrived = asyncio.create_task(events.wait())
    try:
        done, _ = await asyncio.wait(
            {work, arrived}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        arrived.cancel()
    return bool(done)


def _drop(work: "asyncio.Task[Response]") -> None:
    """Cancel work if it is not done; what it has raised, nobody needs."""
    work.cancel()
    work.add_done_callback(lambda done: done.cancelled() or done.exception())


def _written(name: str, body: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(body))
