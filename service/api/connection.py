"""uvicorn's connection, which waits for no client for ever, and answers errors in our form."""

import asyncio
import uuid

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from blockrank_server.service.errors import BadHttpError
from blockrank_server.service.middleware.request_record import REQUEST_ID_HEADER


class Connection(H11Protocol):
    """A connection that is closed when its client lets the server wait for timeout_s.

    uvicorn has one timeout, for the first byte of the next request. It waits for ever for a first
    request, for the rest of a request's head, for the rest of a body that has its answer already
    (401, 413, 504), and for a client to read its answer. While a request is worked on nothing is
    closed here: it has its own deadline.

    Attributes:
        timeout_s: how long a client may let the server wait; up to twice as long where it has
            read or sent something meanwhile.
    """

    timeout_s: float = 60.0

    _timer: asyncio.TimerHandle | None = None
    _num_unsent = 0
    _has_resumed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        """Wait for the client to read the answer and to send the next request."""
        super().on_response_complete()
        self._wait()

    def resume_writing(self) -> None:
        """Note that the client has read something."""
        super().resume_writing()
        self._has_resumed = True

    def shutdown(self) -> None:
        """Close now, or after the answer under way, whose headers then tell the client so."""
        super().shutdown()
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.default_headers = [*self.cycle.default_headers, (b"connection", b"close")]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP in JSON, as every error of ours; uvicorn would in plain text."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # else an answer is on its way
            request_id = uuid.uuid4().hex
            response = BadHttpError("Request is not HTTP/1.1").response(request_id)
            headers = [(REQUEST_ID_HEADER, request_id), ("Connection", "close")]
            for event in (
                h11.Response(
                    status_code=response.status_code,
                    headers=[*response.headers.items(), *headers],
                    reason=b"Bad Request",
                ),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None:  # the app may have had the head; it must not answer now
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._num_unsent = self.transport.get_write_buffer_size()
        self._has_resumed = False
        self._timer = self.loop.call_later(self.timeout_s, self._end_patience)

    def _end_patience(self) -> None:
        is_answered = self.cycle is None or self.cycle.response_complete
        is_at_work = not is_answered and not self.flow.write_paused
        has_read = self._has_resumed or self.transport.get_write_buffer_size() < self._num_unsent
        if is_at_work or has_read:
            self._wait()
        else:
            self.transport.abort()  # close would wait for what is unsent


def connection_with(timeout_s: float) -> type[Connection]:
    """The class for connections with this timeout; uvicorn makes the instances."""
    return type("Connection", (Connection,), {"timeout_s": timeout_s})
