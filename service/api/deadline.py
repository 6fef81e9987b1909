"""Answers before the request's deadline, and only while its client waits."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from blockrank_server.service.api.request_body import read_body
from blockrank_server.service.errors import (
    DeadlineError,
    DeadlineTooShortError,
    InvalidFieldError,
)
from blockrank_server.service.metrics import CLIENT_GONE
from blockrank_server.service.middleware.request_record import RequestRecord
from blockrank_server.service.scheduler.admission_queue import HopelessError
from blockrank_server.service.scheduler.model_worker import ModelWorker
from blockrank_server.service.settings import Settings, variable_name

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
# Where the server's own is not set. Two cores of a CPU take 10 s for 100 documents of 60 words.
TIMEOUT_MS_ON_CPU = 60_000
TIMEOUT_MS_ON_CUDA = 8_000
# A chain of reasoning has hundreds of tokens; shortly before it, verdicts are forced.
TIMEOUT_MS_OF_REASONING = 120_000
Answer = Callable[[Request, bytes], Coroutine[Any, Any, Response]]
T = TypeVar("T")

# To cancel work that takes less is not worth a task beside each request.
_WATCH_AFTER_S = 0.01


async def respond(request: Request, answer: Answer) -> Response:
    """Return the answer to a body, before its deadline and while its client waits.

    Args:
        request: its body must not have been read yet.
        answer: makes the answer from the request and its body.

    Raises:
        ServiceError: the request is refused, has failed, or was not answered in time.
    """
    settings: Settings = request.app.state.settings
    record: RequestRecord = request.state.record
    record.max_timeout_ms = max_timeout_ms(settings, request.app.state.worker)
    record.timeout_ms = timeout_ms = _timeout_ms(request, record.max_timeout_ms)
    record.deadline_s = time.monotonic() + timeout_ms / 1000
    # Asked now, so that a request that came before SIGTERM is answered; raised with the body read,
    # because a client that still sends sees a broken connection instead of the error.
    refusal = request.app.state.worker.refusal()
    raw: bytes | None = None
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            request.state.body = raw = await read_body(request, settings.max_body_bytes)
            if refusal is not None:
                raise refusal
            return await _unless_gone(request, answer(request, raw))
    except TimeoutError:
        reason = ": the rest of the body did not come" if raw is None else ""
        raise DeadlineError(f"No answer within {timeout_ms} ms{reason}") from None
    except ClientDisconnect:
        return Response(status_code=CLIENT_GONE)


def max_timeout_ms(settings: Settings, worker: ModelWorker) -> int:
    """Return the server's own deadline; where none is set, that of card and device.

    Before the model is loaded, it is only for the body of a request that is then refused.
    """
    if settings.request_timeout_ms is not None:
        return settings.request_timeout_ms
    if worker.has_loaded and worker.ranker.card.kind == "reasoning":
        return TIMEOUT_MS_OF_REASONING
    is_cuda = worker.has_loaded and worker.ranker.info.device.startswith("cuda")
    return TIMEOUT_MS_ON_CUDA if is_cuda else TIMEOUT_MS_ON_CPU


def deadline_too_short(
    error: HopelessError,
    record: RequestRecord,
    spelling: Mapping[str, str],
    *,
    has_chunks: bool = False,
) -> DeadlineTooShortError:
    """Translate the queue's error into the caller's words, with every way out.

    Args:
        spelling: translates the Python API's field names into the caller's.
        has_chunks: says that long documents are not cut off: a lower limit would save nothing.
    """
    shorter = "max_chunks_per_doc" if has_chunks else spelling["max_document_tokens"]
    documents, least_ms = spelling["documents"], math.ceil(1000 * error.least_s)
    is_lowered = record.timeout_ms < record.max_timeout_ms
    longer = [f"{TIMEOUT_HEADER} up to {record.max_timeout_ms}"] if is_lowered else []
    if not is_lowered or least_ms >= record.max_timeout_ms:
        longer.append(f"the server's setting {variable_name('request_timeout_ms')}")
    return DeadlineTooShortError(
        f"{documents} and query have {error.num_tokens} tokens, which take at least {least_ms} ms "
        f"here, and {math.floor(1000 * error.left_s)} ms are left of the deadline of "
        f"{record.timeout_ms} ms. Send fewer {documents}, lower "
        f"{shorter}, or allow more time: {', then '.join(longer)}",
        field=documents,
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


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of work, which is cancelled when the client goes first.

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
