"""One log line, one id and one count for every HTTP request."""

import math
import re
import time
import uuid
from dataclasses import dataclass
from typing import Protocol

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blockrank_server.service.metrics import Metrics

REQUEST_ID_HEADER = "X-Request-ID"
# Any word can be a method; only these are no text of the caller's.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
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
        key: name of the API key, if it has one.
        num_documents: of the body.
        num_tokens: of the prompt.
        tokenize_s: parsing and tokenising.
        queue_s: from accepted to batched.
        infer_s: the forward pass.
        deadline_s: on the clock of time.monotonic.
        tokenized_s: when tokenising ended; 0 if it did not. On the clock of started_s.
        scored_s: when the scores came; 0 if they did not. On the clock of started_s.
    """

    request_id: str
    started_s: float
    is_rerank: bool = False
    shape: str | None = None
    reason: str | None = None
    key: str | None = None
    num_documents: int = 0
    num_tokens: int = 0
    tokenize_s: float = 0.0
    queue_s: float = 0.0
    infer_s: float = 0.0
    deadline_s: float = math.inf
    tokenized_s: float = 0.0
    scored_s: float = 0.0

    def periods(self) -> list[tuple[str, float, float]]:
        """Name, start and end of the stages it went through, on the clock of started_s."""
        found = []
        if self.tokenized_s:
            found.append(("tokenize", self.tokenized_s - self.tokenize_s, self.tokenized_s))
        if self.scored_s:
            batched_s = self.tokenized_s + self.queue_s
            found.append(("queue", self.tokenized_s, batched_s))
            found.append(("batch", batched_s, self.scored_s))
        return found

    def stages(self) -> dict[str, float]:
        """Seconds spent so far, by stage."""
        return {
            "tokenize": self.tokenize_s,
            "queue": self.queue_s,
            "infer": self.infer_s,
            "total": time.perf_counter() - self.started_s,
        }


class Tracer(Protocol):
    """Makes traces of requests."""

    def report(self, headers: Headers, record: RequestRecord, status: int) -> None:
        """Called once for every rerank request that is over."""


class RequestLog:
    """ASGI middleware: gives every request its record, and reports it when it has ended."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer
        self._log = structlog.get_logger(__name__)

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
            "method": scope["method"] if scope["method"] in _METHODS else "other",
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
            key=record.key,
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
        if self._tracer is not None:
            self._tracer.report(Headers(scope=scope), record, status)


def _request_id(headers: Headers) -> str:
    given = headers.get(REQUEST_ID_HEADER, "")
    return given if _PRINTABLE.fullmatch(given) else uuid.uuid4().hex
