"""A server process with the fake ranker, and what it has seen. It has an environment of its own."""

import os
import re
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
PROCESSES = ROOT / "tests" / "service" / "process"
# The packages under test are not the server's, and the other way round: two environments.
SERVER_PYTHON = os.environ.get("CONTRACT_SERVER_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
KEY = "KEY"  # as in deploy/clients.md


class LiveServer:
    """A server process.

    Args:
        settings: those of the server, as strings.

    Attributes:
        url: has no slash at its end.
    """

    def __init__(self, **settings: str) -> None:
        environment = {f"BLOCKRANK_{name}": value for name, value in settings.items()}
        start: Any = runpy.run_path(str(PROCESSES / "conftest.py"))["Process"]
        fake = str(PROCESSES / "fake_server.py")
        self._process = start(SERVER_PYTHON, "-W", "error", fake, **environment)
        self._client: httpx.Client = self._process.client()
        self._client.headers["Authorization"] = f"Bearer {KEY}"
        self.url = str(self._client.base_url).rstrip("/")
        while self._client.get("/readyz").status_code != httpx.codes.OK:
            pass

    def close(self) -> None:
        """End it."""
        self._client.close()
        self._process.close()

    def post(self, path: str, body: object) -> Any:
        """The answer to a body that must be accepted."""
        return self._client.post(path, json=body).raise_for_status().json()

    def num_requests(self, status: int) -> int:
        """Rerank requests answered with a status so far."""
        text = self._client.get("/metrics").text
        found = re.findall(rf'^rerank_requests_total{{.*status="{status}".*}} (\S+)', text, re.M)
        return sum(int(float(value)) for value in found)

    @contextmanager
    def overloaded(self) -> Iterator[None]:
        """The model hangs on one request, and another fills the queue."""
        bodies = ({"query": word, "texts": [word]} for word in ("hold", "wait"))
        threads = [Thread(target=self.post, args=("/tei/rerank", body)) for body in bodies]
        threads[0].start()
        self._process.read_until("holding")
        threads[1].start()
        while "\nrerank_queue_requests 1.0" not in self._client.get("/metrics").text:
            pass
        try:
            yield
        finally:
            self._process.release()
            for thread in threads:
                thread.join(60)

    @contextmanager
    def overloaded_once(self) -> Iterator[None]:
        """As overloaded, until the first request has been refused."""
        before = self.num_requests(429)

        def watch() -> None:
            with self.overloaded():
                is_held.set()
                while self.num_requests(429) == before and not is_over.is_set():
                    pass

        is_held, is_over = Event(), Event()
        thread = Thread(target=watch, daemon=True)
        thread.start()
        assert is_held.wait(60)
        try:
            yield
        finally:
            is_over.set()
            thread.join(60)
