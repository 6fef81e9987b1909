"""Starts a server of the run's own, and waits for any server to be ready."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = (str(Path(sys.executable).with_name("blockrank-server")), "serve")
START_S = 300.0
_POLL_S = 0.1


class ServerError(Exception):
    """The server cannot be tested; the text says why."""


@dataclass(slots=True)
class TestedServer:
    """Describes a server under test.

    Attributes:
        host: http://address:port.
        process: the process, or None if the server was there before.
        log: the file that the process writes to.
        exit_code: how the process ended, once it has.
    """

    host: str
    process: "subprocess.Popen[bytes] | None" = None
    log: Path | None = None
    exit_code: int | None = None

    def last_words(self) -> str | None:
        """Return exit code and last line of a process that has ended; None while it runs."""
        if self.process is None or self.log is None or (code := self.process.poll()) is None:
            return None
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " ".join([f"exit code {code}", *lines[-1:]])


@contextmanager
def own_server(
    settings: Mapping[str, str], log: Path, command: Sequence[str] = COMMAND
) -> Iterator[TestedServer]:
    """Start a server with these settings, on a port that was free; send it SIGTERM at the end.

    Args:
        settings: values by name, without BLOCKRANK_; on top of the environment's. Unless they say
            so, no documents are kept: the lists of a load come round.
        log: file for its output. A pipe that nobody reads would fill up and stop the server.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"document_cache_bytes": "0", **settings}
    given = {f"BLOCKRANK_{name.upper()}": value for name, value in settings.items()}
    fixed = {"BLOCKRANK_HOST": "127.0.0.1", "BLOCKRANK_PORT": str(port)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | given | fixed
        )
    server = TestedServer(f"http://127.0.0.1:{port}", process, log)
    try:
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        server.exit_code = process.wait()


def get(host: str, path: str) -> str:
    """Return the body of a GET.

    Raises:
        ServerError: no answer, or one that is not 200.
    """
    try:
        with urllib.request.urlopen(host + path, timeout=30) as response:
            return str(response.read().decode())
    except (OSError, ValueError) as error:  # urllib's own errors are OSErrors
        raise ServerError(f"GET {host}{path}: {error}") from error


def wait_until_ready(server: TestedServer) -> None:
    """Returns once the server takes requests.

    Raises:
        ServerError: it does not within START_S, it has ended, or nothing listens there.
    """
    ends_s = time.monotonic() + START_S
    while True:
        try:
            get(server.host, "/health/ready")
        except ServerError as error:
            if (words := server.last_words()) is not None:
                raise ServerError(f"the server did not start: {words}") from None
            is_loading = isinstance(error.__cause__, urllib.error.HTTPError)
            is_starting = server.process is not None or is_loading
            if not is_starting or time.monotonic() > ends_s:
                raise
            time.sleep(_POLL_S)
        else:
            return


def read_info(host: str) -> dict[str, Any]:
    """Read the server's /info.

    Raises:
        ServerError: it has none.
    """
    body: dict[str, Any] = json.loads(get(host, "/info"))
    return body
