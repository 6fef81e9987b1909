"""Parses requests by h11, and also says what it refuses them for."""

import re

import h11

from blockrank_server.service.api.http_faults import fault_of_head, fault_of_request
from blockrank_server.service.errors import BadHttpError, HeadTooLargeError, ServiceError

MAX_HEAD_BYTES = 2**14
_MAX_EXAMINED_BYTES = 2**16
# What every answer begins with, whatever its status.
_BEGINNING = b"HTTP/1.1 "
# By the beginning of what h11 says; the rest of it quotes the client.
REASONS = {
    "Missing mandatory Host": "The header Host is missing",
    "Found multiple Host": "The header Host was sent more than once",
    "conflicting Content-Length": "Content-Length was sent with different values",
    "bad Content-Length": "Content-Length is not a number",
    "multiple Transfer-Encoding": "Transfer-Encoding was sent more than once",
    "Only Transfer-Encoding": "Transfer-Encoding is something else than chunked",
    "illegal chunk header": "A chunk of the body does not begin with its size in hexadecimal",
    "malformed chunk footer": "A chunk of the body is longer than its size says",
    "illegal header line": "The trailer of the chunked body is not well-formed",
    "peer closed connection": "The body ended before its last chunk",
    "peer unexpectedly closed": "The request ended before its head or its last chunk did",
    "Receive buffer too long": "A chunk of the body does not begin with its size in hexadecimal",
}
_LAST = (h11.MUST_CLOSE, h11.CLOSED)
_CUT_OFF = re.compile(r"received (\d+) bytes, expected (\d+)")


class HttpParser(h11.Connection):
    """Is the server's end of one connection.

    Attributes:
        fault: why the last request was refused.
        is_head: whether the request under way is a HEAD, whose answer has no body.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self.fault: ServiceError = BadHttpError("The request is not HTTP/1.1")
        self.is_head = False
        self._head = b""
        self._num_sent_early = 0

    def receive_data(self, data: bytes) -> None:
        """Take what came, but for what follows a request that was said to be the last."""
        if self.their_state not in _LAST:
            super().receive_data(data)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event, of requests that we serve.

        Raises:
            h11.RemoteProtocolError: the request is refused; `fault` says why.
        """
        if self.their_state in _LAST:
            return h11.NEED_DATA
        is_between = self.their_state is h11.IDLE
        if is_between:
            self.is_head = False
            self._skip_empty_lines()
            self._head = bytes(self._receive_buffer._data[:_MAX_EXAMINED_BYTES])
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            self.fault = self._fault(error, is_between)
            raise
        if isinstance(event, h11.Request):
            self.is_head = event.method == b"HEAD"
            if (fault := fault_of_request(event)) is not None:
                self.fault = fault
                raise h11.RemoteProtocolError(str(fault))
        return event

    def send(self, event: h11.Event) -> bytes | None:  # type: ignore[override]
        """Return the bytes of an event, without those that were sent early."""
        sent = super().send(event)
        if sent and self._num_sent_early:
            assert sent.startswith(_BEGINNING)
            sent, self._num_sent_early = sent[self._num_sent_early :], 0
        return sent

    def send_early(self) -> bytes:
        """Return one more byte of the answer to come, if all that it may be still begin alike."""
        early = _BEGINNING[self._num_sent_early : self._num_sent_early + 1]
        self._num_sent_early += len(early)
        return early

    def _skip_empty_lines(self) -> None:
        """Skip what some clients send behind a body (RFC 9112, 2.2), and h11 refuses."""
        data = self._receive_buffer._data
        if data[:1] and data[:1] in b"\r\n":
            self._receive_buffer.maybe_extract_at_most(len(data) - len(data.lstrip(b"\r\n")))

    def _fault(self, error: h11.RemoteProtocolError, is_between: bool) -> ServiceError:
        if is_between:
            if error.error_status_hint == 431:
                return HeadTooLargeError(
                    f"Request line and headers have more than {MAX_HEAD_BYTES} bytes"
                )
            whole = self._head[: self._head.rfind(b"\n") + 1]
            examined = whole if self.trailing_data[1] else self._head
            if (fault := fault_of_head(examined)) is not None:
                return fault
        said = str(error)
        if (found := _CUT_OFF.search(said)) is not None:
            return BadHttpError(f"The body ended after {found[1]} of {found[2]} bytes")
        reasons = (reason for start, reason in REASONS.items() if said.startswith(start))
        return BadHttpError(next(reasons, "The request is not HTTP/1.1"))
