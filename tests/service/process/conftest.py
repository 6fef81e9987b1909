"""Server processes that end with their module of tests."""

import os
import re
import subprocess
import sys
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

    def read_until(self, text: str) -> str:
        """The first line on standard output that holds text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"no {text!r} in {self.lines} {self.process.stderr}")

    def release(self) -> None:
        """Let the model go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def client(self) -> httpx.Client:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.read_until("Uvicorn running on"))
        assert found
        self.port = int(found[1])
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def end(self) -> tuple[int, str]:
        """Exit code and standard error."""
        self.process.wait(60)  # first: communicate closes stdin, which releases the model
        out, err = self.process.communicate(timeout=60)
        self.lines += out.splitlines()
        return self.process.returncode, err


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
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()
