"""Opens where the server listens: before a model is loaded, so that a taken port is told then."""

import errno
import os
import socket

# As many connections as uvicorn lets wait.
_BACKLOG = 2048


class ListenError(OSError):
    """An address cannot be listened on: the text says why."""


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of a host, or on all of this machine's if it is empty.

    Connections wait from now on, and are answered once the sockets are served.

    Args:
        host: address or name.
        port: 0 picks a free one.

    Raises:
        ListenError: the name is unknown, or an address is taken, forbidden or not this machine's.
    """
    opened: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            opened.append(
                listening := socket.create_server(address, family=family, backlog=_BACKLOG)
            )
            # asyncio does not see that these are of TCP. Without this, which connections take over,
            # a body waits up to 40 ms until the client has acknowledged the head.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        for each in opened:
            each.close()
        is_name = isinstance(error, socket.gaierror)  # its number is not one of the system's
        reason = error.strerror if is_name else os.strerror(error.errno or 0)
        hint = "; port 0 picks a free one" if error.errno == errno.EADDRINUSE else ""
        raise ListenError(f"cannot listen on {host}:{port}: {reason}{hint}") from error
    return opened


def url_of(listening: socket.socket) -> str:
    """Return the URL of a socket on this machine."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, (str(to[0]), int(to[1]))) for family, _, _, _, to in found))
