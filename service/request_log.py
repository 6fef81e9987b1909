"""One log line, one id and one count for every HTTP request."""

import math
import re
import time
import uuid
from dataclasses import dataclass

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blockrank_server.service.metrics import Metrics

REQUEST_ID_HEADER = "X-Request-ID"
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,128}")


@dataclass(slots=True)
class RequestRecord:
    """What is known of a request; the handler fills it in.

    Attributes:
        request_id: the caller's, or a new one.
        started_s: on the clock of time.perf_counter.
        is_rerank: whether it counts in the metrics of rerank requests.
        shape: of the body.
        reason: of the error, if it ended in one.
        num_documents: of the body.
        num_tokens: of the prompt.
        tokenize_s: parsing and tokenising.
        queue_s: from accepted to batched.
        infer_s: the forward pass.
        deadline_s: on the clock of time.monotonic.
    """

    request_id: str
    started_s: float
    is_rerank: bool = False
    shape: str | None = None
    reason: str | None = None
    num_documents: int = 0
    num_tokens: int = 0
    tokenize_s: float = 0.0
    queue_s: float = 0.0
    infer_s: float = 0.0
    deadline_s: float = math.inf

    def stages(self) -> dict[str, float]:
        """Seconds spent so far, by stage."""
        return {
            "tokenize": self.tokenize_s,
            "queue": self.queue_s,
            "infer": self.infer_s,
            "total": time.perf_counter() - self.started_s,
        }


class RequestLog:
    """ASGI middleware: gives every request its record, and reports it when it has ended."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._log = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(_request_id(Headers(scope=scope)), time.perf_counter())
        scope.setdefault("state", {})["record"] = record
        status = 500  # unless a response is started: an exception on its way out

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = record.request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._report(scope, record, status)

    def _report(self, scope: Scope, record: RequestRecord, status: int) -> None:
        duration_s = time.perf_counter() - record.started_s
        line: dict[str, object] = {
            "method": scope["method"],
            "route": getattr(scope.get("route"), "path", None),  # the template, never the path
            "status": status,
            "duration_ms": round(1000 * duration_s, 2),
            "request_id": record.request_id,
        }
        if not record.is_rerank:
            self._log.debug("request", **line)
            return
        self._log.info(
            "request",
            **line,
            shape=record.shape,
            reason=record.reason,
            num_documents=record.num_documents,
            num_tokens=record.num_tokens,
        )
        self._metrics.finished(
            shape=record.shape,
            status=status,
            duration_s=duration_s,
            num_documents=record.num_documents,
        )
        if record.reason is not None:
            self._metrics.rejected(record.reason)


def _request_id(headers: Headers) -> str:
    given = headers.get(REQUEST_ID_HEADER, "")
    return given if _PRINTABLE.fullmatch(given) else uuid.uuid4().hex
