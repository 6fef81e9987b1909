"""Answers GET /search: finds, reranks and shows documents."""

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from rerank_search.backend import SearchBackend, SearchError


class Found(BaseModel):
    """Describes one hit."""

    doc_id: str
    title: str
    text: str
    score: float


class Answer(BaseModel):
    """Holds the hits of a search, best first."""

    query: str
    reranked: bool
    hits: list[Found]


def create_app(backend: SearchBackend, *, num_candidates: int) -> FastAPI:
    """Build the service.

    Args:
        backend: filled with documents.
        num_candidates: how many hits of the first stage are reranked, unless a request says so.
    """
    app = FastAPI(title="Search with blockrank-server", docs_url=None, redoc_url=None)

    @app.get("/search", summary="Documents for a query, best first")
    def search(
        q: Annotated[str, Query(min_length=1, description="Plain text.")],
        num_hits: Annotated[int, Query(ge=1, le=1000)] = 10,
        candidates: Annotated[int | None, Query(ge=1, le=1000)] = None,
        rerank: bool = True,
    ) -> Answer:
        if rerank:
            hits = backend.search_reranked(q, num_hits, candidates or num_candidates)
        else:
            hits = backend.search(q, num_hits)
        found = [
            Found(
                doc_id=hit.document.doc_id,
                title=hit.document.title,
                text=hit.document.text,
                score=hit.score,
            )
            for hit in hits
        ]
        return Answer(query=q, reranked=rerank, hits=found)

    @app.get("/health", summary="200: documents are indexed")
    def health() -> dict[str, str]:
        return {"status": "ready"}

    @app.exception_handler(SearchError)
    async def refuse(_: Request, error: SearchError) -> JSONResponse:
        after_s = error.retry_after_s
        headers = {"Retry-After": str(after_s)} if after_s is not None else {}
        return JSONResponse({"message": str(error)}, 503, headers)

    return app
