"""Reads a body of POST /rerank on a tokenising thread."""

import time
from collections.abc import Sequence
from functools import partial

from starlette.requests import Request

from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.reasoning.request import ReasoningRequest
from blockrank_server.service.api.chain_events import ChainEvents
from blockrank_server.service.api.dialect_body import read_body_of_dialect
from blockrank_server.service.api.prepared_request import PreparedRequest, prepare_request
from blockrank_server.service.dialects.base import Dialect
from blockrank_server.service.metrics import Metrics
from blockrank_server.service.middleware.document_salt import document_salt
from blockrank_server.service.middleware.request_record import RequestRecord
from blockrank_server.service.scheduler.model_worker import ModelWorker


class Reading:
    """Does what a tokenising thread does with a body; `prepared` is there afterwards.

    Args:
        dialects: those that are spoken on its path.

    Attributes:
        events: is told of the chains, where the body asks for a stream.
        is_streamed: whether it does, and was not refused.

    Raises:
        ServiceError: the model is not there.
    """

    prepared: PreparedRequest

    def __init__(self, request: Request, raw: bytes, dialects: Sequence[type[Dialect]]) -> None:
        self._headers, self._raw, self._dialects = request.headers, raw, dialects
        self.record: RequestRecord = request.state.record
        self.worker: ModelWorker = request.app.state.worker
        self._is_strict: bool = request.app.state.settings.strict_model
        self._started_s = time.perf_counter()
        self.metrics: Metrics = request.app.state.metrics
        self.ranker = self.worker.ranker
        self.events: ChainEvents | None = None
        self.is_streamed = False

    def __call__(self) -> EncodedRequest | None:
        """Return what is to be scored, if anything is.

        Raises:
            ServiceError: the body is refused, with a 4xx, in the words of its dialect.
        """
        body = read_body_of_dialect(self._raw, self._headers, self._dialects)
        self.record.dialect = body.dialect.name
        self.prepared = prepare_request(
            body.dialect,
            body.fields,
            self.ranker,
            broken=body.broken,
            strict_model=self._is_strict,
            salt=partial(document_salt, self.record),
        )
        self._count()
        encoded = self.prepared.encoded
        self.is_streamed = self.prepared.request.stream
        if self.is_streamed and isinstance(encoded, ReasoningRequest):
            encoded.caller.listener = self.events
        return encoded

    def _count(self) -> None:
        record, encoded = self.record, self.prepared.encoded
        record.tokenized_s = time.perf_counter()
        record.tokenize_s = record.tokenized_s - self._started_s
        record.num_documents = self.prepared.num_documents
        record.num_tokens = encoded.num_tokens if encoded else 0
        self.metrics.ignored(self.prepared.request.ignored_fields)
        self.metrics.encoded(
            num_documents=record.num_documents,
            num_truncated=len(self.prepared.truncated_documents),
            tokenize_s=record.tokenize_s,
        )
