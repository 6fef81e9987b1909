"""Runs the process: the app under uvicorn, signals, exit codes."""

import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType

import structlog
import uvicorn
from prometheus_client import disable_created_metrics

from blockrank_server.models.engine.host_memory import keep_freed_memory
from blockrank_server.service.api.app import create_app
from blockrank_server.service.api.connection import connection_with
from blockrank_server.service.api.probes import VERSION
from blockrank_server.service.api.sockets import ListenError, open_sockets, url_of
from blockrank_server.service.middleware.logs import configure_logs
from blockrank_server.service.open_ranker import OpenRanker, open_served_ranker
from blockrank_server.service.scheduler.model_worker import ModelWorker
from blockrank_server.service.settings import Settings

# The model's thread asks for the interpreter before every operation. By default it waits up to 5 ms
# for a thread that parses a request: 6 % of the goodput under overload (loadtests/results/LOG.md).
_SWITCH_S = 0.0002
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """Is uvicorn's server, but drains on a signal and stops if the model cannot be loaded."""

    def __init__(self, config: uvicorn.Config, worker: ModelWorker) -> None:
        super().__init__(config)
        self._worker = worker
        self._has_frozen = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuse new requests from this moment on; uvicorn then waits for the others."""
        self._worker.drain()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, and say where; uvicorn says nothing of sockets it was handed."""
        await super().startup(sockets)
        for each in sockets or ():
            structlog.get_logger(__name__).info("listening", url=url_of(each))

    async def on_tick(self, counter: int) -> bool:
        """Say whether to stop; uvicorn asks every 0.1 s."""
        if self._worker.has_loaded and not self._has_frozen:
            # The libraries' and the model's objects live as long as the process. Each time the
            # garbage collector visits them all, every request waits for 0.25 s.
            gc.freeze()
            self._has_frozen = True
        return await super().on_tick(counter) or self._worker.load_error is not None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do as uvicorn does, which in the end raises the signal again: we exit with 0 instead."""
        before = {sig: signal.signal(sig, self.handle_exit) for sig in _SIGNALS}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


def prepare_process(settings: Settings) -> None:
    """Set up what a whole process has one of: metrics, logs, memory, threads."""
    # They double the series with the birth of every other.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    configure_logs(settings.log_level)
    keep_freed_memory()
    sys.setswitchinterval(_SWITCH_S)


def serve(settings: Settings, open_ranker: OpenRanker = open_served_ranker) -> int:
    """Run the server until a signal.

    Returns:
        Exit code: 0 after a signal; 1 if the port cannot be bound, the model not be loaded, or an
        accepted request not be answered in time.

    Raises:
        ApiKeysError: the API keys cannot be used.
    """
    prepare_process(settings)
    app = create_app(settings, open_ranker)
    worker: ModelWorker = app.state.worker
    try:
        sockets = open_sockets(settings.host, settings.port)
    except ListenError as taken:
        return _leave(worker, 1, str(taken))
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        http=connection_with(settings.connection_timeout_s),
        ws="none",  # a library that happens to be installed must not open another protocol
        timeout_graceful_shutdown=settings.drain_timeout_s,
    )
    try:
        # Here, for a standard output that takes no log must end the process with its own error.
        structlog.get_logger(__name__).info("starting", version=VERSION)
        Server(config, worker).run(sockets)
    except SystemExit:  # uvicorn has logged the reason, on standard output
        return _leave(worker, 1, "the application cannot start; the log says why")
    finally:
        for each in sockets:
            each.close()
    if (error := worker.load_error) is not None:
        reason = " ".join(str(error).split()) or type(error).__name__
        return _leave(worker, 1, f"cannot load model {settings.model}: {reason}")
    if worker.has_loaded and not worker.is_ended:
        return _leave(worker, 1, "requests were not answered within drain_timeout_s")
    return _leave(worker, 0)


def _leave(worker: ModelWorker, code: int, message: str | None = None) -> int:
    """Say why, and end the process here if the model's thread loads or hangs."""
    if message is not None:
        print(f"error: {message}", file=sys.stderr)
    if not worker.is_ended:
        sys.stdout.flush()
        sys.stderr.flush()
        # A thread inside torch aborts the process when the interpreter is torn down under it.
        os._exit(code)
    return code
