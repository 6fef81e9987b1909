"""A connection on a test's clock and socket; and the tiny checkpoint under another card."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from blockrank_server.models.checkpoint.card import BUILT_IN
from blockrank_server.models.ranker import Ranker
from blockrank_server.service.api.connection import Connection, connection_with


class Clock:
    """An event loop's timers, and the tasks it was given."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.timers: list[tuple[float, Callable[[], None], Any]] = []
        self.cycles: list[Any] = []

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Any:
        handle = asyncio.TimerHandle(0, call, (), cast("asyncio.AbstractEventLoop", self))
        self.timers.append((self.now_s + delay_s, call, handle))
        return handle

    def create_task(self, coroutine: Any) -> Any:
        coroutine.close()
        self.cycles.append(coroutine)
        return asyncio.Future(loop=cast("asyncio.AbstractEventLoop", self))

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: Any) -> None:
        pass

    def pass_time(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while due := sorted((t for t in self.timers if t[0] <= end_s), key=lambda t: t[0]):
            self.timers.remove(due[0])
            self.now_s = due[0][0]
            if not due[0][2].cancelled():
                due[0][1]()
        self.now_s = end_s


class Transport:
    """A socket whose other end reads when the test says so."""

    def __init__(self) -> None:
        self.unsent = 0
        self.written = b""
        self.is_aborted = self.is_closed = self.is_ended = False

    def get_extra_info(self, _: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: bytes) -> None:
        self.unsent += len(data)
        self.written += data

    def write_eof(self) -> None:
        self.is_ended = True

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def connection(clock: Clock, transport: Transport) -> Connection:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    config = uvicorn.Config(app, log_config=None, lifespan="off")
    loop = cast("asyncio.AbstractEventLoop", clock)
    made = connection_with(10)(config, ServerState(), {}, _loop=loop)
    made.connection_made(cast("asyncio.Transport", transport))
    return made


Answer = Callable[[Connection, int], None]


@pytest.fixture
def answer() -> Answer:
    """Sends what the app would."""
    return send_answer


def send_answer(connection: Connection, size: int) -> None:
    cycle = connection.cycle

    async def send() -> None:
        head: Any = {"type": "http.response.start", "status": 200, "headers": []}
        await cycle.send(head)
        await cycle.send({"type": "http.response.body", "body": b"x" * size, "more_body": False})

    asyncio.run(send())


@pytest.fixture(scope="module")
def open_card(tmp_path_factory: pytest.TempPathFactory, fixtures: Path) -> Callable[..., Ranker]:
    """Opens the tiny checkpoint, reading all heads, with other fields of its card."""

    def open_(document_cache_bytes: int | Literal["auto"] = 0, **changes: Any) -> Ranker:
        built_in = BUILT_IN / "quicktensor--blockrank-msmarco-mistral-7b.json"
        read = [{"layer": 4, "heads": "all"}]
        path = tmp_path_factory.mktemp("card") / "card.json"
        path.write_text(json.dumps(json.loads(built_in.read_bytes()) | changes | {"read": read}))
        return Ranker.open(
            fixtures / "blockrank",
            card=path,
            device="cpu",
            dtype="float32",
            document_cache_bytes=document_cache_bytes,
        )

    return open_
