"""Answers GET: health, readiness, what is served, metrics."""

import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import orjson
from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import PlainTextResponse, Response

from blockrank_server.service.api.deadline import max_timeout_ms
from blockrank_server.service.errors import ModelUnavailableError, ServiceError
from blockrank_server.service.scheduler.model_worker import ModelWorker
from blockrank_server.service.scheduler.phase import Phase
from blockrank_server.service.settings import Settings

VERSION = version("blockrank-server")

router = APIRouter(tags=["operations"])

_NOT_LIVE: dict[int | str, dict[str, Any]] = {503: {"description": "Only a restart helps."}}
_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"description": "Not yet, or not any more."}}


def _json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


def _worker(request: Request) -> ModelWorker:
    worker: ModelWorker = request.app.state.worker
    return worker


def _is_live(request: Request) -> bool:
    return _worker(request).phase not in (Phase.DEAD, Phase.FAILED)


def _nim(word: str, refusal: ServiceError | None) -> Response:
    body = {"object": "health.response", "message": f"Service is {word}.", "status": word}
    if refusal is None:
        return _json(body)
    return _json(body | {"message": str(refusal), "status": f"not {word}"}, 503, refusal.headers())


@router.get("/health", summary="200 while the process can answer at all", responses=_NOT_LIVE)
@router.get("/health/live", include_in_schema=False)
@router.get("/livez", include_in_schema=False)
@router.get("/ping", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def live(request: Request) -> Response:
    """Fails only when a restart is the remedy: the model's thread has died."""
    return _json({"status": _worker(request).phase}, 200 if _is_live(request) else 503)


@router.get(
    "/health/ready",
    summary="200 when requests are taken, else 503 and the reason",
    responses=_NOT_READY,
)
@router.get("/readyz", include_in_schema=False)
async def ready(request: Request) -> Response:
    """Fails while loading, warming up and draining, and when the model is lost."""
    worker = _worker(request)
    refusal = worker.refusal()
    if refusal is None:
        return _json({"status": Phase.READY})
    return _json({"status": worker.phase, "reason": str(refusal)}, 503, refusal.headers())


@router.get("/v1/health/live", summary="As /health, in NVIDIA NIM's form", responses=_NOT_LIVE)
async def nim_live(request: Request) -> Response:
    """Fails as /health does."""
    return _nim("live", None if _is_live(request) else ModelUnavailableError("Service is not live"))


@router.get(
    "/v1/health/ready", summary="As /health/ready, in NVIDIA NIM's form", responses=_NOT_READY
)
async def nim_ready(request: Request) -> Response:
    """Fails as /health/ready does."""
    return _nim("ready", _worker(request).refusal())


@router.get(
    "/.well-known/live",
    summary="As /health, in Weaviate's form: 204 or 503, no body",
    status_code=204,
    response_class=Response,
    responses=_NOT_LIVE,
)
async def weaviate_live(request: Request) -> Response:
    """Fails as /health does."""
    return Response(status_code=204 if _is_live(request) else 503)


@router.get(
    "/.well-known/ready",
    summary="As /health/ready, in Weaviate's form",
    status_code=204,
    response_class=Response,
    responses=_NOT_READY,
)
async def weaviate_ready(request: Request) -> Response:
    """Fails as /health/ready does; Weaviate waits for it before it starts."""
    refusal = _worker(request).refusal()
    if refusal is None:
        return Response(status_code=204)
    return Response(status_code=503, headers=refusal.headers())


@router.get("/meta", summary="The model, in Weaviate's form", responses=_NOT_READY)
async def meta(request: Request) -> Response:
    """Return every field of the model's card. 503 until it is loaded."""
    return _json({"model": _worker(request).ranker.card.model_dump(mode="json")})


@router.get(
    "/info",
    summary="What is served, with which limits (TEI's keys and ours)",
    responses=_NOT_READY,
)
async def info(request: Request) -> Response:
    """Return model, revision, device, limits and the whole card. 503 until the model is loaded."""
    return _json(server_info(request.app.state.settings, _worker(request)))


@router.get(
    "/v1/models",
    summary="The one model that is served, as OpenAI lists models",
    responses=_NOT_READY,
)
@router.get("/models", include_in_schema=False)
async def models(request: Request) -> Response:
    """Answer what NVIDIA's clients ask before they rank. 503 until the model is loaded."""
    model = {
        "id": _worker(request).ranker.card.name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "blockrank-server",
    }
    return _json({"object": "list", "data": [model]})


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Return all series: each is there from the start, and no label holds a text of a caller."""
    # A route: as a mount, GET /metrics would be answered by a redirect.
    return Response(
        generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST
    )


@router.get("/version", summary="Version of the server")
async def server_version(request: Request) -> Response:
    """Return the version of the installed package blockrank-server."""
    return _json({"version": VERSION})


def server_info(settings: Settings, worker: ModelWorker) -> dict[str, Any]:
    """Return the body of /info.

    Raises:
        ServiceError: the model is not loaded.
    """
    ranker = worker.ranker
    card, found = ranker.card, ranker.info
    return {
        "model_id": settings.model,
        "model_sha": found.revision,
        "model_dtype": found.dtype,
        "served_model_name": card.name,
        # Dify takes the first key for the kind of model.
        "model_type": {"reranker": {"id2label": {"0": "relevance"}, "label2id": {"relevance": 0}}},
        "max_concurrent_requests": settings.max_queue_requests,
        "max_input_length": card.limits.max_document_tokens,
        "max_batch_tokens": settings.max_batch_tokens,
        "max_batch_requests": None,
        "max_client_batch_size": card.limits.max_documents,
        "auto_truncate": True,
        "tokenization_workers": settings.num_tokenize_threads,
        "version": VERSION,
        "sha": None,
        "docker_label": None,
        "max_query_tokens": card.limits.max_query_tokens,
        "max_queue_tokens": settings.max_queue_tokens,
        "request_timeout_ms": max_timeout_ms(settings, worker),
        "max_score": ranker.max_score,
        "device": found.device,
        "attention": found.attention,
        "quantization": found.quantization,
        "engine": found.engine,
        "readings": found.readings,
        "weight_bytes": found.weight_bytes,
        "cuda_graph_bytes": found.cuda_graph_bytes,
        "num_layers_kept": found.num_layers_kept,
        "num_layers": found.num_layers,
        "load_seconds": found.load_seconds,
        "document_cache": asdict(ranker.document_cache_stats()),
        "document_store": asdict(ranker.documents.store_stats()) if ranker.documents else None,
        "card": card.model_dump(mode="json"),
    }
