"""Serves bench_http_overhead.py: ours with a model that does nothing, or an app that sends back.

python loadtests/http_overhead_server.py (ours | fastapi | bytes) PORT
"""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from blockrank_server.models.checkpoint.card import BUILT_IN, load_card
from blockrank_server.models.document_cache.document_cache import CacheStats
from blockrank_server.models.engine.ranker_info import RankerInfo
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.api.server import serve
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.ranker import Ranker


# Tokens of a SQuAD paragraph to the embedded default: what follows an encoding (the queue, the
# metrics) sees prompts as long as real ones.
TOKENS_PER_DOCUMENT = 173


class DoneScores:
    """Holds scores that were there before they were asked for."""

    was_split = False
    is_done = True

    def __init__(self, rows: list[list[float]]) -> None:
        self._rows = rows

    def result(self) -> list[list[float]]:
        """Return raw scores, one row a request."""
        return self._rows

    def levels(self) -> list[float]:
        """Return 0 for each list."""
        return [0.0] * len(self._rows)

    def part_shares(self) -> list[list[float]]:
        """Return none, for none are asked for."""
        return [[] for _ in self._rows]


class Noop:
    """Ranks without reading the documents; everything around it is the real thing."""

    def __init__(self) -> None:
        self.card = load_card(BUILT_IN / "default.json")
        self.info = RankerInfo("noop", None, "cpu", "float32", "torch", 1, 1, 0.0, 1, None, "none")
        self.max_score = 1.0
        self._spans: dict[int, Any] = {}
        self._scores: dict[int, list[float]] = {}

    def warm_up(self) -> tuple[tuple[int, float], tuple[int, float]]:
        """Do nothing: nothing is cold, and no batch takes time."""
        return (10, 0.0), (100, 0.0)

    def device_memory(self) -> tuple[int, int]:
        """Return the bytes used and the bytes in all."""
        return 0, 1

    documents = None
    chunker = None

    def document_cache_stats(self) -> CacheStats:
        """Keep nothing."""
        return CacheStats()

    def encode(self, query: str, documents: Sequence[Any], **options: Any) -> EncodedRequest:
        """Make as many tokens as real documents have, whatever these say."""
        size = len(documents)
        if size not in self._spans:
            starts = np.arange(size, dtype=np.int32) * TOKENS_PER_DOCUMENT
            self._spans[size] = np.stack([starts, starts + TOKENS_PER_DOCUMENT], axis=1)
        end = size * TOKENS_PER_DOCUMENT
        tokens = np.zeros(end + 1, np.int32)
        spans = self._spans[size]
        return EncodedRequest(tokens, tokens, 0, end, spans, spans, (end, end + 1))

    def start(
        self, batch: Sequence[EncodedRequest], between_steps: Callable[[], None] | None = None
    ) -> DoneScores:
        """Give the same scores to every list of a length."""
        return DoneScores([self._scores_of(request.num_documents) for request in batch])

    def _scores_of(self, size: int) -> list[float]:
        if size not in self._scores:
            shares = np.random.default_rng(0).dirichlet(np.ones(size)).astype(np.float32)
            self._scores[size] = [float(share) for share in shares]
        return self._scores[size]


def serve_fastapi(send_back: Callable[[FastAPI], None], port: int) -> None:
    """Serve one route under uvicorn, without its access log."""
    app = FastAPI()
    send_back(app)
    app.get("/health/ready")(lambda: {})
    uvicorn.run(app, port=port, access_log=False)


class ShortlistBody(BaseModel):
    """Describes a body that FastAPI reads and writes."""

    query: str
    documents: list[str]


def with_model(app: FastAPI) -> None:
    """Do as FastAPI's tutorial does."""

    @app.post("/rerank")
    async def send_back(body: ShortlistBody) -> ShortlistBody:
        return body


def with_bytes(app: FastAPI) -> None:
    """Send bodies back without reading them."""

    @app.post("/rerank")
    async def send_back(request: Request) -> Response:
        return Response(await request.body(), media_type="application/json")


def main() -> None:
    name, port = sys.argv[1], int(sys.argv[2])
    match name:
        case "ours":
            sys.exit(serve(Settings(port=port), open_ranker=lambda _: cast("Ranker", Noop())))
        case "fastapi":
            serve_fastapi(with_model, port)
        case "bytes":
            serve_fastapi(with_bytes, port)
        case _:
            sys.exit(f"no server {name}")


if __name__ == "__main__":
    main()
