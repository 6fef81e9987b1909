"""POST /rerank: from a body to a ranking, in the words of the body's dialect."""

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from blockrank_server.models.errors import InputError
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.api.deadline import respond
from blockrank_server.service.api.prepared_request import (
    Shortlist,
    in_callers_words,
    make_shortlist,
)
from blockrank_server.service.api.request_body import read_json
from blockrank_server.service.api.response_headers import answer_headers
from blockrank_server.service.dialects.base import Shape
from blockrank_server.service.dialects.shapes import shape_of
from blockrank_server.service.errors import InferenceError
from blockrank_server.service.metrics import Metrics
from blockrank_server.service.middleware.request_record import RequestRecord
from blockrank_server.service.scheduler.model_worker import ModelWorker

if TYPE_CHECKING:
    from blockrank_server.models.ranker import Ranker

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def rerank_as(shapes: Sequence[type[Shape]]) -> Handler:
    """The handler of a path that takes bodies of these shapes."""

    async def rank(request: Request, raw: bytes) -> Response:
        return await _rank(request, raw, shapes)

    async def rerank(request: Request) -> Response:
        request.state.record.is_rerank = True
        return await respond(request, rank)

    return rerank


async def _rank(request: Request, raw: bytes, shapes: Sequence[type[Shape]]) -> Response:
    worker: ModelWorker = request.app.state.worker
    record: RequestRecord = request.state.record
    reading = _Reading(request, raw, shapes, worker.ranker)
    scores = await _scores(worker, reading, record)
    shortlist, ranker = reading.shortlist, reading.ranker
    result = shortlist.result(scores, ranker, request_id=record.request_id)
    content = orjson.dumps(shortlist.shape.render(result))
    headers = answer_headers(result, record, ranker.info)
    return Response(content, headers=headers, media_type="application/json")


async def _scores(worker: ModelWorker, reading: "_Reading", record: RequestRecord) -> list[float]:
    try:
        scored = await worker.score(reading, deadline_s=record.deadline_s)
    except InputError as error:
        shortlist = reading.shortlist
        raise in_callers_words(error, shortlist.spelling, shortlist.kept) from error
    except InferenceError as error:
        raise reading.shortlist.shape.inference_failed(str(error)) from error
    if not scored.scores:
        return []
    record.queue_s, record.infer_s = scored.queue_s, scored.infer_s
    record.scored_s = time.perf_counter()
    reading.metrics.scored(
        num_documents=len(scored.scores),
        num_tokens=record.num_tokens,
        queue_s=scored.queue_s,
        infer_s=scored.infer_s,
    )
    return scored.scores


class _Reading:
    """What a tokenising thread does with a body; its shortlist is there afterwards.

    Args:
        request: whose body it is.
        raw: the body.
        shapes: on its path.
        ranker: that will score it.
    """

    shortlist: Shortlist

    def __init__(
        self, request: Request, raw: bytes, shapes: Sequence[type[Shape]], ranker: "Ranker"
    ) -> None:
        self._headers, self._raw, self._shapes = request.headers, raw, shapes
        self._record: RequestRecord = request.state.record
        self._is_strict: bool = request.app.state.settings.strict_model
        self._started_s = time.perf_counter()
        self.metrics: Metrics = request.app.state.metrics
        self.ranker = ranker

    def __call__(self) -> EncodedRequest | None:
        """What is to be scored, if anything is.

        Raises:
            ServiceError: of the 4xx kind, in the words of the body's shape.
        """
        body = read_json(self._raw)
        shape = shape_of(body, self._headers, self._shapes)
        self._record.shape = shape.name
        self.shortlist = make_shortlist(shape, body, self.ranker, strict_model=self._is_strict)
        self._count()
        return self.shortlist.encoded

    def _count(self) -> None:
        record, encoded = self._record, self.shortlist.encoded
        record.tokenized_s = time.perf_counter()
        record.tokenize_s = record.tokenized_s - self._started_s
        record.num_documents = len(self.shortlist.request.documents)
        record.num_tokens = encoded.num_tokens if encoded else 0
        self.metrics.ignored(self.shortlist.request.ignored_fields)
        self.metrics.encoded(
            num_documents=record.num_documents,
            num_truncated=len(encoded.truncated_documents) if encoded else 0,
            tokenize_s=record.tokenize_s,
        )
