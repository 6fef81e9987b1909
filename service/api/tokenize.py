"""POST /tokenize: how many tokens a text has, in TEI's form or vLLM's."""

from typing import TYPE_CHECKING

import orjson
from starlette.requests import Request
from starlette.responses import Response

from blockrank_server.service.api.deadline import respond
from blockrank_server.service.api.request_body import read_json
from blockrank_server.service.dialects.tokenize import (
    TeiToken,
    TeiTokenize,
    VllmTokenize,
    VllmTokens,
)
from blockrank_server.service.errors import InvalidFieldError
from blockrank_server.service.scheduler.model_worker import ModelWorker

if TYPE_CHECKING:
    from blockrank_server.models.ranker import Ranker


async def tokenize(request: Request) -> Response:
    """The tokens of a body of either form."""
    return await respond(request, _tokenize)


async def _tokenize(request: Request, raw: bytes) -> Response:
    worker: ModelWorker = request.app.state.worker
    ranker = worker.ranker
    content = await worker.prepare(lambda: orjson.dumps(_answer(raw, ranker)))
    return Response(content, media_type="application/json")


def _answer(raw: bytes, ranker: "Ranker") -> list[list[TeiToken]] | VllmTokens:
    body = read_json(raw)
    if not body.keys() & {"inputs", "prompt"}:
        raise InvalidFieldError("body has neither inputs (TEI) nor prompt (vLLM)")
    kind: type[TeiTokenize | VllmTokenize] = TeiTokenize if "inputs" in body else VllmTokenize
    return kind.read(body).answer(ranker)
