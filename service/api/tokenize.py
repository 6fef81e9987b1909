"""Serves POST /tokenize: how many tokens a text has, in TEI's form or vLLM's."""

from typing import TYPE_CHECKING

import orjson
from starlette.requests import Request
from starlette.responses import Response

from blockrank_server.service.api.broken_text import broken_warning
from blockrank_server.service.api.deadline import respond
from blockrank_server.service.api.request_body import read_json
from blockrank_server.service.api.response_headers import WARNING_HEADER
from blockrank_server.service.dialects.tokenize import TeiTokenize, VllmTokenize
from blockrank_server.service.errors import InvalidFieldError
from blockrank_server.service.scheduler.model_worker import ModelWorker

if TYPE_CHECKING:
    from blockrank_server.models.any_ranker import AnyRanker


async def tokenize(request: Request) -> Response:
    """Answer with the tokens of a body of either form."""
    return await respond(request, _tokenize)


async def _tokenize(request: Request, raw: bytes) -> Response:
    worker: ModelWorker = request.app.state.worker
    ranker = worker.ranker
    return await worker.prepare(lambda: _answer(raw, ranker))


def _answer(raw: bytes, ranker: "AnyRanker") -> Response:
    fields, broken = read_json(raw)
    if not fields.keys() & {"inputs", "prompt"}:
        raise InvalidFieldError("body has neither inputs (TEI) nor prompt (vLLM)")
    has_inputs, has_prompt = (fields.get(name) is not None for name in ("inputs", "prompt"))
    is_tei = has_inputs or ("inputs" in fields and not has_prompt)
    kind: type[TeiTokenize | VllmTokenize] = TeiTokenize if is_tei else VllmTokenize
    content = orjson.dumps(kind.read(fields).answer(ranker))
    warnings = ["prompt is ignored: inputs is read"] if has_inputs and has_prompt else []
    if broken:
        warnings.append(broken_warning(broken, kind.model_fields))
    headers = {WARNING_HEADER: "; ".join(warnings)} if warnings else {}
    return Response(content, headers=headers, media_type="application/json")
