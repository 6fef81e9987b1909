"""Runs an ASGI application behind a real socket."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn


@contextmanager
def running(app: Any, port: int = 0) -> Iterator[str]:
    """Runs it on a thread; gives its address."""
    config = uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=20)
    process = uvicorn.Server(config)
    thread = threading.Thread(target=process.run)
    thread.start()
    try:
        while not process.started:
            assert thread.is_alive()
        [socket] = process.servers[0].sockets
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        process.should_exit = True
        thread.join()
