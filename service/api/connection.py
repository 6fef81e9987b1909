"""Adapts uvicorn's connection: it waits for no client for ever, and answers errors in our form."""

import asyncio
import functools
import http
import logging
import uuid
from typing import Any

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

from blockrank_server.service.api.http_parser import HttpParser
from blockrank_server.service.middleware.request_record import REQUEST_ID_HEADER

_FIRST_PROBE_S = 0.05
_LINGER_S = 5


class Connection(H11Protocol):
    """Closes itself when its client lets the server wait for timeout_s.

    uvicorn has one timeout, for the first byte of the next request. It waits for ever for a first
    request, for the rest of a request's head, for the rest of a body that has its answer already
    (401, 413, 504), and for a client to read its answer. While a request is worked on nothing is
    closed here: it has its own deadline.

    A client that will send no more (`nc -N`) gets its answer, for which uvicorn would not wait. On
    the wire it looks like one that has closed and gone, until that one's machine refuses what it is
    sent. So the bytes that every answer begins with are sent before the answer is known, one at a
    time: a client that listens takes them for what they are, and one that has gone is noticed.

    Attributes:
        timeout_s: how long a client may let the server wait; up to twice as long where it has
            read or sent something meanwhile.
    """

    timeout_s: float = 60.0

    conn: HttpParser
    _timer: asyncio.TimerHandle | None = None
    _prober: asyncio.TimerHandle | None = None
    _num_unsent = 0
    _has_resumed = False
    _has_refused = False
    _has_ended = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn = HttpParser()
        self.logger = _ClientLogger(self.logger)  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        if not self._has_refused:
            super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection for the answer to a whole request; refuse one that was cut off."""
        if self._has_refused:
            return False
        is_cut_off = self.conn.their_state is h11.SEND_BODY or self._is_in_head()
        if is_cut_off:
            self.conn.receive_data(b"")
            self.handle_events()
        elif self._is_at_work():
            self._has_ended = True
            self._probe(_FIRST_PROBE_S)
            return True
        return False

    def on_response_complete(self) -> None:
        """Wait for the client to read the answer and to send the next request, if it may."""
        super().on_response_complete()
        self._wait()
        if self._has_ended and not self._is_at_work():
            self.transport.close()

    def resume_writing(self) -> None:
        """Note that the client has read something."""
        super().resume_writing()
        self._has_resumed = True

    def shutdown(self) -> None:
        """Close now, or after the answer under way, whose headers then tell the client so."""
        if self._has_refused:
            self.transport.close()
            return
        super().shutdown()
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.default_headers = [*self.cycle.default_headers, (b"connection", b"close")]

    def connection_lost(self, exc: Exception | None) -> None:
        for each in (self._timer, self._prober):
            if each is not None:
                each.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP in JSON, as every error of ours; uvicorn would in plain text."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # else an answer is on its way
            self._refuse()
        if self.cycle is not None:  # the app may have had the head; it must not answer now
            self.cycle.disconnected = True
            self.cycle.waiting_for_100_continue = False
            self.cycle.message_event.set()
        # What still comes is read and dropped for a while: to close now would take the answer back.
        self._has_refused = True
        self.transport.write_eof()
        self.flow.resume_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(_LINGER_S, self.transport.abort)

    def _refuse(self) -> None:
        fault, request_id = self.conn.fault, uuid.uuid4().hex
        response = fault.response(request_id)
        headers = [(REQUEST_ID_HEADER, request_id), ("Connection", "close")]
        head = h11.Response(
            status_code=response.status_code,
            headers=[*response.headers.items(), *headers],
            reason=http.HTTPStatus(response.status_code).phrase.encode(),
        )
        body = b"" if self.conn.is_head else bytes(response.body)
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        structlog.get_logger(__name__).debug(
            "refused", reason=str(fault), status=fault.status, request_id=request_id
        )

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: an offer of another protocol may be ignored (RFC 9110, 7.8)."""

    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_in_head(self) -> bool:
        return self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])

    def _probe(self, delay_s: float) -> None:
        """Send a byte of the answer to come; the next one fails if the client refuses this one."""
        if not self._is_at_work() or self.cycle.response_started or self.transport.is_closing():
            return
        if early := self.conn.send_early():
            self.transport.write(early)
            self._prober = self.loop.call_later(
                delay_s, functools.partial(self._probe, 2 * delay_s)
            )

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._num_unsent = self.transport.get_write_buffer_size()
        self._has_resumed = False
        self._timer = self.loop.call_later(self.timeout_s, self._end_patience)

    def _end_patience(self) -> None:
        is_left_alone = self._is_at_work() and not self.flow.write_paused
        has_read = self._has_resumed or self.transport.get_write_buffer_size() < self._num_unsent
        if is_left_alone or has_read:
            self._wait()
        else:
            self.transport.abort()  # close would wait for what is unsent


class _ClientLogger(logging.LoggerAdapter[logging.Logger]):
    """Says at debug what uvicorn would warn of: a client can cause it with every request."""

    @property
    def level(self) -> int:
        return self.logger.level

    def warning(self, msg: object, *args: object, **options: Any) -> None:
        self.debug(msg, *args, **options)


def connection_with(timeout_s: float) -> type[Connection]:
    """Return the class for connections with this timeout; uvicorn makes the instances."""
    return type("Connection", (Connection,), {"timeout_s": timeout_s})
