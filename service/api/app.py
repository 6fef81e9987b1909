"""Puts the HTTP application together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from blockrank_server.service.api import docs_page, openapi, overview, playground_page, probes
from blockrank_server.service.api.problems import add_problem_handlers
from blockrank_server.service.api.routes import add_routes
from blockrank_server.service.dialects.registry import DIALECTS
from blockrank_server.service.metrics import Metrics
from blockrank_server.service.middleware.stack import add_middleware
from blockrank_server.service.open_ranker import OpenRanker, open_ranker
from blockrank_server.service.scheduler.model_worker import ModelWorker
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.any_ranker import AnyRanker
    from blockrank_server.service.middleware.tracing import SpanTracer


def create_app(settings: Settings, open_ranker: OpenRanker = open_ranker) -> FastAPI:
    """Make the application; its lifespan loads the model while probes are answered.

    Args:
        open_ranker: gives the ranker; it is called on the thread that will own it.

    Raises:
        ApiKeysError: the API keys cannot be used.
    """
    tracer = _tracer(settings)
    dialects = (dialect.name for dialect in DIALECTS)
    metrics = Metrics(CollectorRegistry(), dialects, settings.max_batch_tokens)
    worker = ModelWorker(settings, _telling(open_ranker, metrics), metrics.scheduler)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        structlog.get_logger(__name__).info("settings", **settings.effective())
        worker.start()
        yield
        await asyncio.to_thread(worker.close, settings.drain_timeout_s)
        if tracer is not None:
            await asyncio.to_thread(tracer.close)

    app = FastAPI(
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,
        redoc_url=None,
        servers=docs_page.SERVERS,
        redirect_slashes=False,
        title="blockrank-server",
        summary="Online listwise reranking",
        description=overview.overview(),
        openapi_tags=openapi.TAGS,
        version=probes.VERSION,
        lifespan=lifespan,
    )
    app.state.settings, app.state.metrics, app.state.worker = settings, metrics, worker
    add_middleware(app, settings, metrics, tracer)
    if settings.docs:
        docs_page.add_docs_page(app)
        playground_page.add_playground(app)
    add_problem_handlers(app, add_routes(app))
    return app


def _telling(open_ranker: OpenRanker, metrics: Metrics) -> OpenRanker:
    """Tell the metrics whether the ranker that is opened keeps documents."""

    def open_and_tell(settings: Settings) -> "AnyRanker":
        ranker = open_ranker(settings)
        if ranker.document_cache_stats().max_bytes:
            metrics.documents_are_kept()
        return ranker

    return open_and_tell


def _tracer(settings: Settings) -> "SpanTracer | None":
    if not settings.tracing:
        return None
    # Here and not on top: its packages are an extra.
    from blockrank_server.service.middleware.tracing import SpanTracer, exporting_provider  # noqa: PLC0415

    return SpanTracer(exporting_provider())
