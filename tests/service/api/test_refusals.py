"""What is no HTTP is refused, and a client that has ended its own direction is heard out."""

from typing import TYPE_CHECKING

import orjson
import pytest

from blockrank_server.service.api.connection import Connection

if TYPE_CHECKING:
    from tests.service.api.conftest import Answer, Clock, Transport

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",  # TLS
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n",
    ],
)
def test_what_is_no_http_gets_an_error_in_our_form(
    connection: Connection, transport: "Transport", sent: bytes
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
    connection: Connection, answer: "Answer", transport: "Transport"
) -> None:
    connection.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\nno length\r\n")
    answer(connection, 10)
    assert transport.written.count(b"HTTP/1.1 ") == 1


def test_what_is_no_http_behind_an_answer_gets_no_second_one(
    connection: Connection, answer: "Answer", transport: "Transport"
) -> None:
    connection.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    answer(connection, 10)
    written = transport.written
    connection.data_received(b"no length\r\n\r\n")
    assert transport.is_ended
    assert transport.written == written


def test_what_comes_behind_a_refusal_is_dropped_for_a_while(
    connection: Connection, clock: "Clock", transport: "Transport"
) -> None:
    connection.data_received(b"no HTTP\r\n\r\n")
    written = transport.written
    for _ in range(4):
        connection.data_received((HEAD + b"\r\n") * 2)
        clock.pass_time(1.2)
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
    connection: Connection, answer: "Answer", clock: "Clock", transport: "Transport"
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
    connection: Connection, answer: "Answer", clock: "Clock", transport: "Transport"
) -> None:
    connection.data_received((HEAD + b"\r\n") * 2)
    assert connection.eof_received()
    answer(connection, 3)
    assert not transport.is_closed
    answer(connection, 3)
    assert transport.written.count(b"HTTP/1.1 200 OK") == 2
    assert transport.is_closed


def test_what_comes_behind_the_last_request_is_dropped(
    connection: Connection, answer: "Answer", transport: "Transport"
) -> None:
    connection.data_received(HEAD + b"Connection: close\r\n\r\n")
    connection.data_received(b"\r\nmore")
    assert transport.written == b""
    answer(connection, 3)
    assert transport.written.startswith(b"HTTP/1.1 200 OK")


def test_an_end_between_requests_is_the_end(
    connection: Connection, answer: "Answer", transport: "Transport"
) -> None:
    connection.data_received(HEAD + b"\r\n\r\n")
    answer(connection, 3)
    assert not connection.eof_received()
    assert transport.written.count(b"HTTP/1.1") == 1
