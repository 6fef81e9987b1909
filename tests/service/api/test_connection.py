"""When a connection's patience ends, on a clock that only this test moves."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import orjson
import pytest
import uvicorn
from uvicorn.server import ServerState

from blockrank_server.service.api.connection import Connection, connection_with

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
HIGH_WATER = 1000


class Clock:
    """An event loop's timers, and the tasks it was given."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.timers: list[tuple[float, Callable[[], None], Any]] = []
        self.cycles: list[Any] = []

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Any:
        handle = asyncio.TimerHandle(0, call, (), cast("asyncio.AbstractEventLoop", self))
        self.timers.append((self.now_s + delay_s, call, handle))
        return handle

    def create_task(self, coroutine: Any) -> Any:
        coroutine.close()
        self.cycles.append(coroutine)
        return asyncio.Future(loop=cast("asyncio.AbstractEventLoop", self))

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: Any) -> None:
        pass

    def pass_time(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while due := sorted((t for t in self.timers if t[0] <= end_s), key=lambda t: t[0]):
            self.timers.remove(due[0])
            self.now_s = due[0][0]
            if not due[0][2].cancelled():
                due[0][1]()
        self.now_s = end_s


class Transport:
    """A socket whose other end reads when the test says so."""

    def __init__(self) -> None:
        self.unsent = 0
        self.written = b""
        self.is_aborted = self.is_closed = self.is_ended = False

    def get_extra_info(self, _: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: bytes) -> None:
        self.unsent += len(data)
        self.written += data

    def write_eof(self) -> None:
        self.is_ended = True

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def connection(clock: Clock, transport: Transport) -> Connection:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    config = uvicorn.Config(app, log_config=None, lifespan="off")
    loop = cast("asyncio.AbstractEventLoop", clock)
    made = connection_with(10)(config, ServerState(), {}, _loop=loop)
    made.connection_made(cast("asyncio.Transport", transport))
    return made


def answer(connection: Connection, size: int) -> None:
    """What the app would send."""
    cycle = connection.cycle

    async def send() -> None:
        head: Any = {"type": "http.response.start", "status": 200, "headers": []}
        await cycle.send(head)
        await cycle.send({"type": "http.response.body", "body": b"x" * size, "more_body": False})

    asyncio.run(send())


def test_a_client_that_says_nothing(
    connection: Connection, clock: Clock, transport: Transport
) -> None:
    clock.pass_time(9.9)
    assert not transport.is_aborted
    clock.pass_time(0.2)
    assert transport.is_aborted


def test_a_head_byte_by_byte(connection: Connection, clock: Clock, transport: Transport) -> None:
    for _ in range(3):
        connection.data_received(b"G")
        clock.pass_time(4)
    assert transport.is_aborted


def test_a_request_at_work_is_left_to_its_deadline(
    connection: Connection, clock: Clock, transport: Transport
) -> None:
    connection.data_received(HEAD + b"\r\n")
    clock.pass_time(1000)
    assert len(clock.cycles) == 1
    assert not transport.is_aborted
    answer(connection, 10)
    transport.unsent = 0
    clock.pass_time(4.9)  # uvicorn closes after 5 s without a next request
    assert not transport.is_closed
    clock.pass_time(0.2)
    assert transport.is_closed


def test_an_answer_that_is_never_read(
    connection: Connection, clock: Clock, transport: Transport
) -> None:
    connection.data_received(HEAD + b"\r\n")
    answer(connection, 5000)
    clock.pass_time(9.9)
    assert transport.is_closed  # which waits for what is unsent
    assert not transport.is_aborted
    clock.pass_time(0.2)
    assert transport.is_aborted


def test_an_answer_that_is_read_slowly(
    connection: Connection, clock: Clock, transport: Transport
) -> None:
    connection.data_received(HEAD + b"\r\n")
    answer(connection, 5000)
    for _ in range(4):
        transport.unsent -= 1000
        clock.pass_time(10)
        assert not transport.is_aborted
    clock.pass_time(10)
    assert transport.is_aborted


def test_a_pipelined_request_behind_an_answer_that_is_never_read(
    connection: Connection, clock: Clock, transport: Transport
) -> None:
    connection.data_received((HEAD + b"\r\n") * 2)
    answer(connection, 5000)
    connection.pause_writing()
    assert len(clock.cycles) == 2
    clock.pass_time(9)
    connection.resume_writing()
    connection.pause_writing()
    clock.pass_time(10)
    assert not transport.is_aborted  # it has read something
    clock.pass_time(10)
    assert transport.is_aborted


def test_the_rest_of_a_body_that_has_its_answer(
    connection: Connection, clock: Clock, transport: Transport
) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    connection.data_received(head)
    answer(connection, 10)
    transport.unsent = 0
    for _ in range(5):  # the answer was read in the first 10 s, which counts as a move
        assert not transport.is_aborted
        connection.data_received(b"x")
        clock.pass_time(4)
    assert not transport.is_closed
    assert transport.is_aborted


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",  # TLS
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n",
    ],
)
def test_what_is_no_http_gets_an_error_in_our_form(
    connection: Connection, transport: Transport, sent: bytes
) -> None:
    connection.data_received(sent + b"\r\n\r\n")
    head, body = transport.written.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    error = orjson.loads(body)
    assert (error["code"], error["error_type"]) == (400, "Validation")
    assert f"x-request-id: {error['request_id']}".encode() in head.lower()
    assert f"content-length: {len(body)}".encode() in head.lower()
    assert transport.is_ended


def test_an_app_that_had_the_head_does_not_answer_after_it(
    connection: Connection, transport: Transport
) -> None:
    connection.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n")
    answer(connection, 10)
    assert transport.written.count(b"HTTP/1.1 ") == 1


def test_what_is_no_http_behind_an_answer_gets_no_second_one(
    connection: Connection, transport: Transport
) -> None:
    connection.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    answer(connection, 10)
    written = transport.written
    connection.data_received(b"no length\r\n\r\n")
    assert transport.is_ended
    assert transport.written == written


def test_what_comes_behind_a_refusal_is_dropped_for_a_while(
    connection: Connection, clock: Clock, transport: Transport
) -> None:
    connection.data_received(b"no HTTP\r\n\r\n")
    written = transport.written
    transport.unsent = 0
    for _ in range(4):
        connection.data_received((HEAD + b"\r\n") * 2)
        clock.pass_time(4.9)
    assert not transport.is_closed  # before its client has read the refusal, it would lose it
    assert (transport.written, clock.cycles) == (written, [])
    clock.pass_time(1)
    assert transport.is_aborted


@pytest.mark.parametrize("num_bytes", [0, 1, 1000])
def test_a_client_that_closes_behind_a_refusal_is_let_go(
    connection: Connection, num_bytes: int
) -> None:
    connection.data_received(b"no HTTP\r\n\r\n" + b"x" * num_bytes)
    assert not connection.eof_received()


def test_the_answer_begins_before_it_is_known_where_the_client_has_ended(
    connection: Connection, clock: Clock, transport: Transport
) -> None:
    connection.data_received(HEAD + b"\r\n")
    assert connection.eof_received()
    assert transport.written == b"H"
    clock.pass_time(0.06)
    assert transport.written == b"HT"
    clock.pass_time(1000)
    assert transport.written == b"HTTP/1.1 "
    answer(connection, 3)
    assert transport.written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert transport.written.count(b"HTTP/1.1") == 1
    assert transport.is_closed
    assert not transport.is_aborted


def test_pipelined_requests_are_answered_before_the_end(
    connection: Connection, clock: Clock, transport: Transport
) -> None:
    connection.data_received((HEAD + b"\r\n") * 2)
    assert connection.eof_received()
    answer(connection, 3)
    assert not transport.is_closed
    answer(connection, 3)
    assert transport.written.count(b"HTTP/1.1 200 OK") == 2
    assert transport.is_closed


def test_an_end_between_requests_is_the_end(connection: Connection, transport: Transport) -> None:
    connection.data_received(HEAD + b"\r\n\r\n")
    answer(connection, 3)
    assert not connection.eof_received()
    assert transport.written.count(b"HTTP/1.1") == 1


def test_a_client_that_went_leaves_no_timer(
    connection: Connection, clock: Clock, transport: Transport
) -> None:
    connection.connection_lost(None)
    clock.pass_time(1000)
    assert not transport.is_aborted
