"""The stack of docker-compose.yml as a user meets it: commands, published ports, containers."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


class Stack:
    """Services of the profile cpu under a project name of their own.

    Args:
        services: those to start.
    """

    def __init__(self, services: Sequence[str]) -> None:
        self.services = list(services)
        self._compose = [*os.environ["COMPOSE"].split(), "--profile", "cpu", "--profile", "load"]
        self.rerank = _client("RERANK_PORT")
        self.search = _client("SEARCH_PORT")
        self.prometheus = _client("PROMETHEUS_PORT")

    def compose(self, *arguments: str) -> str:
        """Run a compose command.

        Returns:
            Standard output.

        Raises:
            AssertionError: it failed; with all that it said.
        """
        return _run(*self._compose, *arguments)

    def background(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a compose command; what it says, errors too, is one pipe."""
        return subprocess.Popen(
            [*self._compose, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def up(self) -> float:
        """Start everything from nothing and wait until it is healthy: seconds."""
        self.down()
        started = time.monotonic()
        self.compose("up", "-d", "--wait", "--wait-timeout", "600", "--no-build", *self.services)
        return time.monotonic() - started

    def down(self) -> None:
        """End everything, volumes too."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "60")

    def close(self) -> None:
        """End everything, and the connections to it."""
        self.down()
        for client in (self.rerank, self.search, self.prometheus):
            client.close()

    def container(self, service: str) -> dict[str, Any]:
        """What the engine knows of a service's container."""
        [identity] = self.compose("ps", "--all", "--quiet", service).split()
        [found] = json.loads(_run("docker", "inspect", identity))
        return dict(found)

    def is_healthy(self, service: str) -> bool:
        """Tell what the container's own health check says."""
        state = self.container(service)["State"]
        return bool(state["Running"] and state["Health"]["Status"] == "healthy")

    def logged(self, service: str) -> list[dict[str, Any]]:
        """The service's log lines that are JSON."""
        lines = self.compose("logs", "--no-log-prefix", "--no-color", service).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def metric(self, query: str) -> float | None:
        """One value of a PromQL query, None while there is none."""
        answer = self.prometheus.get("/api/v1/query", params={"query": query}).raise_for_status()
        found = answer.json()["data"]["result"]
        return float(found[0]["value"][1]) if found else None


def until(say: Callable[[], T], *, within_s: float = 120) -> T:
    """The first true thing that is said; asked twice a second, because containers cannot call back.

    Raises:
        AssertionError: nothing true within that time.
    """
    deadline = time.monotonic() + within_s
    while not (found := say()):
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.5)
    return found


def image_bytes(name: str) -> int:
    """Size of an image as the engine keeps it, without compression."""
    return int(json.loads(_run("docker", "image", "inspect", name))[0]["Size"])


def _client(port: str) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{os.environ[port]}", timeout=120)


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
