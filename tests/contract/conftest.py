"""The servers under test; and nobody may leave this machine."""

import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

pytest.register_assert_rewrite("contract", "replica")  # before anything imports them

from live_server import KEY, LiveServer  # noqa: E402

# Packages that report their use, or fetch a price list, when they are imported.
os.environ |= {
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


def _refuse_outside(connect: Any) -> Any:
    def checked(sock: socket.socket, address: Any) -> Any:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            assert ipaddress.ip_address(address[0]).is_loopback, f"{address} is not this machine"
        return connect(sock, address)

    return checked


socket.socket.connect = _refuse_outside(socket.socket.connect)  # type: ignore[method-assign]
socket.socket.connect_ex = _refuse_outside(socket.socket.connect_ex)  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    """A server with a key, and with a queue that is full with one request."""
    settings = {"MAX_QUEUE_REQUESTS": "1", "REQUEST_TIMEOUT_MS": "60000"}
    found = LiveServer(API_KEYS=KEY, **settings)
    yield found
    found.close()


@pytest.fixture(scope="session")
def open_server() -> Iterator[LiveServer]:
    """A server without keys."""
    found = LiveServer()
    yield found
    found.close()
