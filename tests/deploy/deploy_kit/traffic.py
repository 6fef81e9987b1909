"""Requests of every kind, so that every series of the service moves."""

import json
import random
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import httpx

STEADY, BURST = 3, 16  # threads
LENGTHS = (1, 2, 4, 8, 15, 40, 80, 150, 400, 900, 1100)
WEIGHTS = (4, 4, 8, 30, 30, 20, 16, 6, 2, 1, 1)


class Traffic:
    """Clients that keep a server busy until the end of the with block.

    Args:
        port: the server's port on 127.0.0.1.
        odd_share: the share of requests that fail, are refused, slow or cut.
    """

    def __init__(self, port: int, *, odd_share: float) -> None:
        self._port, self._odd_share = port, odd_share
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(STEADY + BURST, "traffic")
        self._running: list[Future[None]] = []

    def __enter__(self) -> Self:
        run = self._pool.submit
        self._running = [run(self._steady, seed) for seed in range(STEADY)]
        self._running += [run(self._burst, seed) for seed in range(BURST)]
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for each in self._running:
            each.result()  # a client that failed fails the test
        self._pool.shutdown()

    def _steady(self, seed: int) -> None:
        with _Client(self._port, seed) as client:
            for odd in client.odd_kinds:  # one of each at once, so that a test need not wait
                odd()
            while not self._stop.wait(client.dice.expovariate(12)):
                if client.dice.random() < self._odd_share:
                    client.dice.choice(client.odd_kinds)()
                else:
                    client.ordinary()

    def _burst(self, seed: int) -> None:
        """All at once every few seconds: more than the queue may hold."""
        with _Client(self._port, 1000 + seed) as client:
            while not self._stop.is_set():
                client.long()
                self._stop.wait(4)


class _Client:
    def __init__(self, port: int, seed: int) -> None:
        self.dice = random.Random(seed)
        self._port = port
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        self.odd_kinds: tuple[Callable[[], None], ...] = (
            lambda: self._post(["a " * 80, "b"]),
            lambda: self._post(["a", "fail"], key="texts"),
            lambda: self._post(["a", "fail"], key="documents"),
            lambda: self._post(["a", "slow"]),
            lambda: self._post(["a"] * 1201),
            lambda: self._post(["a"], query=""),
            lambda: self._post(["a"], model="another"),
            lambda: self._post(["a"], instruction="be kind", priority=1, what=2),
            lambda: self._post(["a " * 600_000]),
            lambda: self._post(self._documents(300), timeout_ms=1),
            self._send_nonsense,
            self._send_twice,
            self._leave,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def ordinary(self) -> None:
        (length,) = self.dice.choices(LENGTHS, WEIGHTS)
        self._post(self._documents(length))

    def long(self) -> None:
        self._post(self._documents(80))

    def _documents(self, length: int) -> list[str]:
        words = [f"w{self.dice.randrange(500)}" for _ in range(40)]
        return [" ".join(words[: self.dice.randint(10, 40)]) for _ in range(length)]

    def _post(
        self, documents: list[str], *, key: str = "", timeout_ms: int | None = None, **more: Any
    ) -> None:
        headers = {"X-Request-Timeout-Ms": str(timeout_ms)} if timeout_ms else {}
        field = key or self.dice.choice(("documents", "texts"))
        body = {"query": "w1 w2", field: documents} | more
        self._http.post("/rerank", json=body, headers=headers)

    def _send_nonsense(self) -> None:
        self._http.post("/rerank", content=b"{")

    def _send_twice(self) -> None:
        """The same at once, and slow: the second finds the first still there."""
        body = {"query": "w1", "texts": ["slow", *self._documents(1)]}
        with ThreadPoolExecutor(2) as pool:
            for sent in [pool.submit(self._http.post, "/rerank", json=body) for _ in range(2)]:
                sent.result()

    def _leave(self) -> None:
        """Go before the answer."""
        raw = json.dumps({"query": "w1", "texts": self._documents(900)}).encode()
        with socket.create_connection(("127.0.0.1", self._port), timeout=60) as leaver:
            head = f"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n"
            leaver.sendall(head.encode() + raw)
