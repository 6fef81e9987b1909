"""When a connection's patience ends, on a clock that only this test moves."""

from typing import TYPE_CHECKING

from blockrank_server.service.api.connection import Connection

if TYPE_CHECKING:
    from tests.service.api.conftest import Answer, Clock, Transport

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


def test_a_client_that_says_nothing(
    connection: Connection, clock: "Clock", transport: "Transport"
) -> None:
    clock.pass_time(9.9)
    assert not transport.is_aborted
    clock.pass_time(0.2)
    assert transport.is_aborted


def test_a_head_byte_by_byte(
    connection: Connection, clock: "Clock", transport: "Transport"
) -> None:
    for _ in range(3):
        connection.data_received(b"G")
        clock.pass_time(4)
    assert transport.is_aborted


def test_a_request_at_work_is_left_to_its_deadline(
    connection: Connection, answer: "Answer", clock: "Clock", transport: "Transport"
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
    connection: Connection, answer: "Answer", clock: "Clock", transport: "Transport"
) -> None:
    connection.data_received(HEAD + b"\r\n")
    answer(connection, 5000)
    clock.pass_time(9.9)
    assert transport.is_closed  # which waits for what is unsent
    assert not transport.is_aborted
    clock.pass_time(0.2)
    assert transport.is_aborted


def test_an_answer_that_is_read_slowly(
    connection: Connection, answer: "Answer", clock: "Clock", transport: "Transport"
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
    connection: Connection, answer: "Answer", clock: "Clock", transport: "Transport"
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
    connection: Connection, answer: "Answer", clock: "Clock", transport: "Transport"
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


def test_a_client_that_went_leaves_no_timer(
    connection: Connection, clock: "Clock", transport: "Transport"
) -> None:
    connection.connection_lost(None)
    clock.pass_time(1000)
    assert not transport.is_aborted
