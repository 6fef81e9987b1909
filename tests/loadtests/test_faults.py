"""What clients at fault do on their connection, to a server that is a socket."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from open_loop.faults import Fault, FaultClient, Faults, RawAnswer

BODY = b'{"query":"a","documents":["b"]}' * 10
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer-Timing: queue;dur=1\r\n\r\nhi"
QUICK = Faults(slow_s=0.05, leave_after_s=0.05)
SLOW_TO_LEAVE = Faults(leave_after_s=60.0)


class Peer:
    """Takes one connection and keeps what came in, up to its end or to so many bytes.

    Args:
        answer: sent once everything is there.
    """

    def __init__(self, answer: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._answer = answer
        self.received = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        with self._listener, self._listener.accept()[0] as connection:
            while not self.received.endswith(BODY):
                piece = connection.recv(65_536)
                if not piece:
                    return
                self.received += piece
            if self._answer:
                connection.sendall(self._answer)
            else:
                self.received += connection.recv(1)  # until the client goes

    def end(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


MakePeer = Callable[[bytes], Peer]


@pytest.fixture
def make_peer() -> Iterator[MakePeer]:
    made: list[Peer] = []

    def make(answer: bytes) -> Peer:
        made.append(Peer(answer))
        return made[-1]

    yield make
    for peer in made:
        peer.end()


def client(peer: Peer) -> FaultClient:
    return FaultClient(peer.host, "/rerank", timeout_s=60)


def test_a_slow_client_sends_all_in_pieces_and_takes_its_answer(
    make_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses_s: list[float] = []
    monkeypatch.setattr("open_loop.faults.time.sleep", pauses_s.append)
    peer = make_peer(ANSWER)
    answer = client(peer).send(BODY, Fault.SLOW, QUICK)
    assert answer == RawAnswer(200, {"Content-Length": "2", "Server-Timing": "queue;dur=1"}, b"hi")
    head, _, body = peer.received.partition(b"\r\n\r\n")
    assert body == BODY
    assert head.startswith(b"POST /rerank HTTP/1.1\r\nHost: 127.0.0.1:")
    assert f"Content-Length: {len(BODY)}".encode() in head
    assert len(pauses_s) > 10
    assert sum(pauses_s) == pytest.approx(QUICK.slow_s, rel=0.1)


def test_a_client_that_leaves_has_sent_all_and_waits_no_longer(make_peer: MakePeer) -> None:
    peer = make_peer(b"")
    assert client(peer).send(BODY, Fault.LEAVING, QUICK) is None
    peer.end()
    assert peer.received.endswith(BODY)


def test_a_client_that_leaves_mid_body_has_sent_half_of_it(make_peer: MakePeer) -> None:
    peer = make_peer(b"")
    assert client(peer).send(BODY, Fault.LEAVING_MID_BODY, QUICK) is None
    peer.end()
    assert peer.received.endswith(b"\r\n\r\n" + BODY[: len(BODY) // 2])


def test_an_answer_that_comes_before_the_client_leaves_is_taken(make_peer: MakePeer) -> None:
    answer = client(make_peer(ANSWER)).send(BODY, Fault.LEAVING, SLOW_TO_LEAVE)
    assert answer is not None
    assert (answer.status, answer.content) == (200, b"hi")
