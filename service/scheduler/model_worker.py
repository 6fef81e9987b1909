"""The model's life beside the server: load, warm up, score, end. And what a caller may know of it.

One thread opens the ranker and is the only one that scores; a pool of others tokenises.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import structlog

from blockrank_server.models.errors import InputTooLongError
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.errors import (
    DrainingError,
    LoadingError,
    ModelUnavailableError,
    OverloadedError,
    ServiceError,
)
from blockrank_server.service.metrics import Metrics
from blockrank_server.service.open_ranker import OpenRanker
from blockrank_server.service.scheduler.batcher import Batcher
from blockrank_server.service.scheduler.coalescing import SharedScores
from blockrank_server.service.scheduler.duration_model import Throughput
from blockrank_server.service.scheduler.limits import Limits
from blockrank_server.service.scheduler.policy import LengthBuckets, Scored
from blockrank_server.service.scheduler.tokenizer_pool import TokenizePool
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.ranker import Ranker

T = TypeVar("T")


class Phase(StrEnum):
    """Where the model is in its life."""

    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    DEAD = "dead"


class ModelHost:
    """Owns the ranker, its thread, its queue and the tokenising pool.

    Args:
        settings: of the server.
        open_ranker: gives the ranker; called on the model's thread.
        metrics: of the app.
    """

    def __init__(self, settings: Settings, open_ranker: OpenRanker, metrics: Metrics) -> None:
        self._settings, self._open, self._metrics = settings, open_ranker, metrics
        self._throughput = Throughput()
        self._batcher = Batcher(
            LengthBuckets(max_wait_s=settings.max_wait_ms / 1000),
            metrics.batches,
            self._throughput,
            Limits(
                max_batch_tokens=settings.max_batch_tokens,
                max_batch_s=settings.max_batch_ms / 1000,
                max_queue_requests=settings.max_queue_requests,
                max_queue_tokens=settings.max_queue_tokens,
                max_queue_share=settings.max_queue_share,
            ),
        )
        self._shared = SharedScores(metrics.batches.coalesced)
        self._pool = TokenizePool(settings.num_tokenize_threads)
        # A daemon, so that a process told to stop does not wait for a load of minutes.
        self._thread = threading.Thread(target=self._own_model, name="model", daemon=True)
        self._is_draining = False
        self._loading = Phase.LOADING
        self._ranker: Ranker | None = None
        self.load_error: BaseException | None = None
        self._log = structlog.get_logger(__name__)
        metrics.watch(is_ready=lambda: self.phase is Phase.READY)
        metrics.batches.watch(
            num_requests=lambda: self._batcher.num_requests,
            num_tokens=lambda: self._batcher.num_tokens,
            predicted_wait_s=lambda: self._batcher.predicted_wait_s,
        )

    @property
    def phase(self) -> Phase:
        """Where the model is in its life."""
        if self.load_error is not None:
            return Phase.FAILED
        if self._batcher.is_dead:
            return Phase.DEAD
        return Phase.DRAINING if self._is_draining else self._loading

    @property
    def ranker(self) -> "Ranker":
        """The ranker.

        Raises:
            ServiceError: it is not there yet, or never will be.
        """
        if self._ranker is None:
            raise self.refusal() or LoadingError("Model is loading", retry_after_s=1)
        return self._ranker

    @property
    def has_loaded(self) -> bool:
        """Whether the model has ever been ready."""
        return self._loading is Phase.READY

    @property
    def is_ended(self) -> bool:
        """Whether the model's thread has ended."""
        return not self._thread.is_alive()

    def refusal(self) -> ServiceError | None:
        """Why requests are refused at the moment, if they are."""
        match self.phase:
            case Phase.READY:
                return None
            case Phase.DRAINING:
                return DrainingError()
            case Phase.FAILED:
                return ModelUnavailableError("Model could not be loaded")
            case Phase.DEAD:
                return ModelUnavailableError("The model's thread has died")
            case phase:
                return LoadingError(f"Model is {phase}", retry_after_s=1)

    def start(self) -> None:
        """Start to load the model."""
        self._thread.start()

    def drain(self) -> None:
        """Refuse new requests; those accepted are answered. Safe in a signal handler."""
        self._is_draining = True

    async def prepare(self, work: Callable[[], T]) -> T:
        """Run work on a tokenising thread.

        Raises:
            OverloadedError: there is as much before the queue and in it as the queue may hold.
        """
        done: Future[T] = Future()
        self._check_room()
        self._pool.start(work, done.set_result, done)
        return await asyncio.wrap_future(done)

    async def score(
        self, prepare: Callable[[], EncodedRequest | None], *, deadline_s: float = math.inf
    ) -> Scored | None:
        """Scores of one request. Cancelled, it leaves the queue.

        Args:
            prepare: run on a tokenising thread, which then puts what it gives into the queue: the
                event loop is woken once. None is not scored.
            deadline_s: on the clock of time.monotonic; after it nobody waits for the answer.

        Raises:
            Whatever prepare raises.
            DeadlineError: the deadline cannot be met any more.
            OverloadedError, InputTooLongError, DrainingError: it was not accepted.
            InferenceError: the model failed.
            ModelUnavailableError: its thread has died.
        """
        scored: Future[Scored | None] = Future()

        def queue(request: EncodedRequest | None) -> None:
            if request is None:
                scored.set_result(None)
            else:
                self._shared.join(scored, request, lambda: self._submit(request, deadline_s))

        self._check_room()
        self._pool.start(prepare, queue, scored)
        return await asyncio.wrap_future(scored)

    def _check_room(self) -> None:
        num_requests = self._pool.num_requests + self._batcher.num_requests
        if num_requests >= self._settings.max_queue_requests:
            raise OverloadedError(self._batcher.predicted_wait_s)

    def _submit(self, request: EncodedRequest, deadline_s: float) -> Future[Scored]:
        fits = self.ranker.info.max_batch_tokens
        if fits is not None and request.num_tokens > fits:
            raise InputTooLongError(
                f"documents and query have {request.num_tokens} tokens, the device's memory holds "
                f"{fits}",
                field="documents",
                limit=fits,
                value=request.num_tokens,
            )
        return self._batcher.submit(request, deadline_s).future

    def close(self, timeout_s: float) -> bool:
        """Answer what was accepted, then end. Returns whether the model's thread has ended."""
        self.drain()
        deadline_s = time.monotonic() + timeout_s
        # A thread that still loads has accepted nothing, so there is nothing to wait for.
        self._batcher.close(timeout_s if self.has_loaded else 0.0)
        self._pool.close()
        if self.has_loaded:
            self._thread.join(max(0.0, deadline_s - time.monotonic()))
        return self.is_ended

    def _own_model(self) -> None:
        try:
            ranker = self._open(self._settings)
            self._loading = Phase.WARMING
            self._throughput.calibrate(*ranker.warm_up())
        except BaseException as error:
            self.load_error = error
            self._log.error("the model failed to load", error=str(error), kind=type(error).__name__)
            return
        info = ranker.info
        labels = {
            "model": info.name,
            "revision": info.revision or "",
            "dtype": info.dtype,
            "device": info.device,
            "attention": info.attention,
            "quantization": info.quantization,
        }
        self._metrics.model_loaded(labels, ranker.device_memory)
        self._ranker, self._loading = ranker, Phase.READY
        self._log.info("ready", **asdict(info))
        with contextlib.suppress(BaseException):  # run has told everybody and logged it
            self._batcher.run(ranker.start)
