"""Where the server listens."""

import socket

from blockrank_server.service.api.sockets import open_sockets


def test_a_connection_sends_at_once_what_it_has() -> None:
    """Else the body of an answer waits until the client's machine acknowledges its head."""
    for listening in open_sockets("127.0.0.1", 0):
        with listening, socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
