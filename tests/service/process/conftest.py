"""Server processes that end with their module of tests."""

import contextlib
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

FAKE_SERVER = Path(__file__).with_name("fake_server.py")


class Process:
    """A server process and what it says."""

    def __init__(self, *command: str, **environment: str) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("BLOCKRANK_")}
        self.process = subprocess.Popen(
            command or (sys.executable, "-W", "error", str(FAKE_SERVER)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean | {"BLOCKRANK_PORT": "0", "BLOCKRANK_MAX_WAIT_MS": "0"} | environment,
        )
        self.lines: list[str] = []
        self._unread: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # Always read, so that a full pipe never holds the server up.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            self._unread.put(line)
        self._unread.put(None)

    def read_until(self, text: str) -> str:
        """The next line on standard output that holds text."""
        while (line := self._unread.get(timeout=60)) is not None:
            if text in line:
                return line
        raise AssertionError(f"no {text!r} in {self.lines} {self.process.stderr}")

    def release(self) -> None:
        """Let the model go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def client(self) -> httpx.Client:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.read_until('"listening"'))
        assert found
        self.port = int(found[1])
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def end(self) -> tuple[int, str]:
        """Exit code and standard error."""
        assert self.process.stderr is not None
        self.process.wait(60)
        self._reader.join(60)
        return self.process.returncode, self.process.stderr.read()

    def close(self) -> None:
        """End it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)
        self._reader.join(60)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


StartServer = Callable[..., Process]


@pytest.fixture(scope="module")
def start_server() -> Iterator[StartServer]:
    """Start a server: on the fake ranker, or by the command given; settings as keywords."""
    started: list[Process] = []

    def start(*command: str, **environment: str) -> Process:
        started.append(Process(*command, **environment))
        return started[-1]

    yield start
    for each in started:
        each.close()
