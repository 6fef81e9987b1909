"""The app on the fake ranker without a network: whole ASGI messages in, whole answers out.

FUZZ_REQUESTS asks for so many requests in all, from random seeds, instead of 2,000 that are always
the same (make fuzz).
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import orjson
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from starlette.types import Message, Scope

from blockrank_server.service.api.app import create_app
from blockrank_server.service.errors import ErrorBody
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.ranker import Ranker
    from tests.service.conftest import FakeRanker

NUM_REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "2000"))
IS_LONG = "FUZZ_REQUESTS" in os.environ
_HANGS_S = 60


class Answer(NamedTuple):
    """What came back; status 0 if nothing did."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Tally:
    """Counts by part and status, for the last lines of a run."""

    def __init__(self) -> None:
        self.statuses: dict[str, Counter[int]] = {}
        self.slowest = (0.0, "")

    def add(self, part: str, status: int, seconds: float, request: str) -> None:
        self.statuses.setdefault(part, Counter())[status] += 1
        self.slowest = max(self.slowest, (seconds, request))


TALLY = Tally()


class Fuzzed:
    """Asks the app, and checks of every answer what holds for all of them."""

    def __init__(self, app: FastAPI, loop: asyncio.AbstractEventLoop) -> None:
        self.app, self._loop = app, loop

    def examples(self, share: float) -> hypothesis_settings:
        """Settings of a hypothesis test with this share of all requests."""
        return hypothesis_settings(
            max_examples=max(1, round(NUM_REQUESTS * share)),
            derandomize=not IS_LONG,
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )

    def ask(
        self,
        part: str,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
        chunks: Sequence[bytes] = (),
        *,
        is_cut_off: bool = False,
    ) -> Answer:
        """One request. is_cut_off: its client goes before the last chunk."""
        started = time.perf_counter()
        asking = _ask(self.app, method, path, headers, chunks, is_cut_off)
        answer = self._loop.run_until_complete(asyncio.wait_for(asking, _HANGS_S))
        seconds = time.perf_counter() - started
        TALLY.add(part, answer.status, seconds, f"{method} of {sum(map(len, chunks))} bytes")
        if not is_cut_off:
            has_deadline = any(name == b"x-request-timeout-ms" for name, _ in headers)
            check(method, answer, has_deadline=has_deadline)
        return answer


def _scope(method: str, path: str, headers: Sequence[tuple[bytes, bytes]]) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }


async def _ask(
    app: FastAPI,
    method: str,
    path: str,
    headers: Sequence[tuple[bytes, bytes]],
    chunks: Sequence[bytes],
    is_cut_off: bool,
) -> Answer:
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
    ]
    if is_cut_off:
        messages += [{"type": "http.disconnect"}]
    else:
        messages += [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[Message] = []
    is_over = asyncio.Event()

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await is_over.wait()  # as a client that waits for its answer
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(_scope(method, path, headers), receive, send)
    is_over.set()
    if not sent:
        return Answer(0, {}, b"")
    start, *rest = sent
    found = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(part.get("body", b"") for part in rest))


def check(method: str, answer: Answer, *, has_deadline: bool) -> None:
    """The contract: no 5xx but the caller's own deadline, an id on every answer, one error form."""
    assert 200 <= answer.status < 500 or (has_deadline and answer.status == 504)
    request_id = answer.headers["x-request-id"]
    assert request_id
    if answer.status < 400 or method == "HEAD":
        return
    assert answer.headers["content-type"] == "application/json"
    error: ErrorBody = orjson.loads(answer.body)
    expected = list(ErrorBody.__annotations__)
    assert list(error) in (expected, expected[:-1])  # errors is there if there are several
    assert isinstance(error["error"], str)
    assert error["error"]
    assert error["error"] == error["message"] == error["detail"]
    assert (error["code"], error["object"]) == (answer.status, "error")
    assert error["request_id"] == request_id
    if answer.status == 429:
        assert int(answer.headers["retry-after"]) >= 1


@pytest.fixture(scope="module")
def fuzzed(fake_ranker: "type[FakeRanker]") -> Iterator[Fuzzed]:
    """An app that is ready; its loop runs while it is asked."""
    settings = Settings(max_wait_ms=0, max_body_bytes=100_000)
    app = create_app(settings, open_ranker=lambda _: cast("Ranker", fake_ranker()))
    loop = asyncio.new_event_loop()
    lifespan = app.router.lifespan_context(app)
    loop.run_until_complete(lifespan.__aenter__())
    while loop.run_until_complete(_ask(app, "GET", "/readyz", (), (), False)).status != 200:
        pass
    yield Fuzzed(app, loop)
    loop.run_until_complete(lifespan.__aexit__(None, None, None))
    loop.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many requests of which part ended how; the figures of loadtests/results/LOG.md."""
    for part, statuses in TALLY.statuses.items():
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
        terminalreporter.write_line(f"fuzz {part}: {statuses.total()} requests; {counts}")
    if TALLY.statuses:
        seconds, request = TALLY.slowest
        terminalreporter.write_line(f"fuzz: slowest answer {seconds:.3f} s, to {request}")
