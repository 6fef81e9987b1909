"""Runs the model beside the server: load, warm up, score, end; and tells callers about it.

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
from typing import TYPE_CHECKING, TypeVar, cast

import structlog

from blockrank_server.models.document_cache.store_stats import StoreStats
from blockrank_server.models.errors import InputTooLongError
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.errors import (
    LoadingError,
    OverloadedError,
    ServiceError,
)
from blockrank_server.service.open_ranker import OpenRanker
from blockrank_server.service.scheduler.batcher import Batcher
from blockrank_server.service.scheduler.capacity import EngineCapacity
from blockrank_server.service.scheduler.duration_model import DurationModel
from blockrank_server.service.scheduler.job import Scored
from blockrank_server.service.scheduler.metrics import SchedulerMetrics
from blockrank_server.service.scheduler.phase import Phase, refusal_in
from blockrank_server.service.scheduler.policy import BatchingPolicy, BatchLimits
from blockrank_server.service.scheduler.reasoning_callers import ReasoningCallers
from blockrank_server.service.scheduler.tokenizer_pool import TokenizerPool
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.any_ranker import AnyRanker
    from blockrank_server.models.remote_ranker import RemoteRanker

T = TypeVar("T")


class ModelWorker:
    """Owns the ranker, its thread, its queue and the threads that tokenise.

    Args:
        settings: limits of the queue and of batches, and what open_ranker needs.
        open_ranker: gives the ranker; called on the model's thread.
        metrics: is told what happens to the model and its batches.

    Attributes:
        load_error: why the model could not be opened.
    """

    def __init__(
        self, settings: Settings, open_ranker: OpenRanker, metrics: SchedulerMetrics
    ) -> None:
        self._settings, self._open, self._metrics = settings, open_ranker, metrics
        self._duration_model = DurationModel()
        self._batcher = Batcher(
            BatchingPolicy(max_wait_s=settings.max_wait_ms / 1000),
            metrics,
            self._duration_model,
            BatchLimits.of(settings),
        )
        self._callers = ReasoningCallers()
        self._pool = TokenizerPool(settings.num_tokenize_threads)
        # A daemon, so that a process told to stop does not wait for a load of minutes.
        self._thread = threading.Thread(target=self._own_model, name="model", daemon=True)
        self._is_draining = False
        self._loading = Phase.LOADING
        self._ranker: AnyRanker | None = None
        self.load_error: BaseException | None = None
        self._log = structlog.get_logger(__name__)
        metrics.watch(
            is_ready=lambda: self.phase is Phase.READY,
            num_requests=lambda: self._batcher.num_requests,
            num_tokens=lambda: self._batcher.num_tokens,
            predicted_wait_s=lambda: self._batcher.predicted_wait_s,
        )

    @property
    def phase(self) -> Phase:
        if self.load_error is not None:
            return Phase.FAILED
        if self._batcher.is_dead:
            return Phase.DEAD
        if self._is_draining:
            return Phase.DRAINING
        return self._loading if self._fault is None else Phase.UNREACHABLE

    @property
    def _fault(self) -> str | None:
        """Say why the server that writes chains cannot be asked, where one does and it cannot."""
        return None if (remote := _remote(self._ranker)) is None else remote.fault

    @property
    def ranker(self) -> "AnyRanker":
        """Return the ranker, once it is ready.

        Raises:
            ServiceError: it is not there yet, or never will be.
        """
        if self._ranker is None:
            raise self.refusal() or LoadingError("Model is loading", retry_after_s=1)
        return self._ranker

    @property
    def has_loaded(self) -> bool:
        """Say whether the model has ever been ready."""
        return self._loading is Phase.READY

    @property
    def is_ended(self) -> bool:
        """Say whether the model's thread has ended."""
        return not self._thread.is_alive()

    def refusal(self) -> ServiceError | None:
        """Tell why requests are refused at the moment, if they are."""
        return refusal_in(self.phase, self._fault)

    def start(self) -> None:
        """Start the thread that loads the model."""
        self._thread.start()

    def drain(self) -> None:
        """Refuse new requests; those accepted are answered. Safe in a signal handler."""
        self._is_draining = True
        self._callers.drain(self._settings.drain_timeout_s)

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
    ) -> Scored:
        """Score one request. Cancelled, it leaves the queue.

        Args:
            prepare: run on a tokenising thread, which then puts what it gives into the queue: the
                event loop is woken once. None has nothing to score, and gets no scores.
            deadline_s: after this moment of time.monotonic nobody waits for the answer.

        Raises:
            Whatever prepare raises.
            DeadlineError: the deadline cannot be met any more.
            OverloadedError, HopelessError, InputTooLongError, DrainingError: it was not accepted.
            InferenceError: the model failed.
            ModelUnavailableError: its thread has died.
        """
        scored: Future[Scored] = Future()

        def queue(request: EncodedRequest | None) -> None:
            if request is None:
                scored.set_result(Scored([], 0.0, 0.0))
            else:
                self._check_memory(request)
                self._callers.watch(request, deadline_s, scored)
                self._batcher.submit(request, deadline_s, scored)

        self._check_room()
        self._pool.start(prepare, queue, scored)
        return await asyncio.wrap_future(scored)

    def _check_room(self) -> None:
        num_requests = self._pool.num_requests + self._batcher.num_requests
        if num_requests >= self._settings.max_queue_requests:
            raise OverloadedError(self._batcher.predicted_wait_s)

    def _check_memory(self, request: EncodedRequest) -> None:
        fits = self.ranker.info.max_batch_tokens
        if fits is not None and request.num_tokens > fits:
            raise InputTooLongError(
                f"documents and query have {request.num_tokens} tokens, the device's memory holds "
                f"{fits}",
                field="documents",
                limit=fits,
                value=request.num_tokens,
            )

    def close(self, timeout_s: float) -> bool:
        """Answer what was accepted, write what is to be kept, then end.

        Returns:
            Whether the model's thread has ended within the time.
        """
        self.drain()
        deadline_s = time.monotonic() + timeout_s
        # A thread that still loads has accepted nothing, so there is nothing to wait for.
        self._batcher.close(timeout_s if self.has_loaded else 0.0)
        self._pool.close()
        if self.has_loaded:
            self._thread.join(max(0.0, deadline_s - time.monotonic()))
        if self._ranker is not None and (known := self._ranker.documents) is not None:
            known.close(max(0.0, deadline_s - time.monotonic()))
        return self.is_ended

    def _own_model(self) -> None:
        try:
            ranker = self._open(self._settings)
            self._loading = Phase.WARMING
            self._duration_model.calibrate(*ranker.warm_up())
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
        known = ranker.documents
        stats = ranker.document_cache_stats, StoreStats if known is None else known.store_stats
        self._metrics.model_loaded(labels, ranker.device_memory, *stats)
        self._ranker, self._loading = ranker, Phase.READY
        self._log.info("ready", **asdict(info))
        with contextlib.suppress(BaseException):  # run has told everybody and logged it
            remote = _remote(ranker)
            self._batcher.run(ranker.start, None if remote is None else EngineCapacity(remote))


def _remote(ranker: "AnyRanker | None") -> "RemoteRanker | None":
    """Return a ranker whose chains another server writes; None for any other.

    Its info tells: the class, whose HTTP client takes a fifth of a second to import, is not loaded
    before the server answers probes.
    """
    if ranker is None or ranker.info.engine != "remote":
        return None
    return cast("RemoteRanker", ranker)
