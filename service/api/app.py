"""The HTTP application."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from itertools import product
from typing import TYPE_CHECKING

import structlog
from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from blockrank_server.service.api import openapi, probes
from blockrank_server.service.api.rerank import rerank_as
from blockrank_server.service.api.tokenize import tokenize
from blockrank_server.service.dialects.registry import DIALECTS, ROUTES
from blockrank_server.service.errors import (
    MethodNotAllowedError,
    ServiceError,
    UnknownPathError,
)
from blockrank_server.service.metrics import Metrics
from blockrank_server.service.middleware.stack import add_middleware
from blockrank_server.service.open_ranker import OpenRanker, open_ranker
from blockrank_server.service.scheduler.model_worker import ModelWorker
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.service.middleware.tracing import SpanTracer


def create_app(settings: Settings, open_ranker: OpenRanker = open_ranker) -> FastAPI:
    """The application; its lifespan loads the model while probes are answered.

    Args:
        open_ranker: gives the ranker; it is called on the thread that will own it.

    Raises:
        ApiKeysError: the API keys cannot be used.
    """
    tracer = _tracer(settings)
    metrics = Metrics(
        CollectorRegistry(), (dialect.name for dialect in DIALECTS), settings.max_batch_tokens
    )
    worker = ModelWorker(settings, open_ranker, metrics.scheduler)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        structlog.get_logger(__name__).info("settings", **settings.effective())
        worker.start()
        yield
        await asyncio.to_thread(worker.close, settings.drain_timeout_s)
        if tracer is not None:
            await asyncio.to_thread(tracer.close)

    # The usual docs page loads its scripts from a CDN; FastAPIOffline serves them itself.
    make = FastAPIOffline if settings.docs else partial(FastAPI, openapi_url=None)
    app = make(
        redoc_url=None,
        title="blockrank-server",
        summary="Online listwise reranking",
        description=openapi.overview(),
        openapi_tags=openapi.TAGS,
        version=probes.VERSION,
        lifespan=lifespan,
    )
    app.state.settings, app.state.metrics, app.state.worker = settings, metrics, worker
    add_middleware(app, settings, metrics, tracer)
    app.add_exception_handler(ServiceError, _problem)
    app.add_exception_handler(HTTPException, _http_problem)
    _add_routes(app)
    return app


def _tracer(settings: Settings) -> "SpanTracer | None":
    if not settings.tracing:
        return None
    # Here and not on top: its packages are an extra.
    from blockrank_server.service.middleware.tracing import SpanTracer, exporting_provider  # noqa: PLC0415

    return SpanTracer(exporting_provider())


class _Direct(Route):
    """A route without FastAPI's handling of parameters, which nothing here uses."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Adds the route for the log, as FastAPI would."""
        match, found = super().matches(scope)
        return match, {**found, "route": self}


def _add_routes(app: FastAPI) -> None:
    direct: list[BaseRoute] = []
    for route in ROUTES:
        handler = rerank_as(route.dialects)
        for path, method in product((route.path, *route.aliases), route.methods):
            direct.append(_Direct(path, handler, methods=[method]))
            app.add_api_route(  # for the documentation alone
                path,
                handler,
                methods=[method],
                operation_id=re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_"),
                response_class=Response,
                **openapi.rerank_operation(route, path),
            )
    app.add_api_route(
        "/tokenize",
        tokenize,
        methods=["POST"],
        response_class=Response,
        **openapi.tokenize_operation(),
    )
    app.include_router(probes.router)
    app.router.routes[:0] = direct
    openapi.add_components(app)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # the registration guarantees it
    request.state.record.reason = error.reason
    return error.response(request.state.record.request_id)


async def _http_problem(request: Request, error: Exception) -> Response:
    """Starlette's own errors: no such path, or not with this method."""
    assert isinstance(error, HTTPException)
    kind = (
        MethodNotAllowedError
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED
        else UnknownPathError
    )
    response = await _problem(request, kind(str(error.detail)))
    response.headers.update(error.headers or {})
    return response
