"""Lists of known documents do not wait behind lists of the same length that are computed."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from blockrank_server.models.document_cache.document_cache import DocumentCache
from blockrank_server.models.document_cache.kept import NewDocument
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.errors import OverloadedError

if TYPE_CHECKING:
    from tests.service.scheduler.conftest import (
        Clock,
        MakeBatcher,
        MakeRequest,
        Model,
        Observer,
        RunFor,
        Running,
    )

NUM_TOKENS = 400


@pytest.fixture
def known(make_request: "MakeRequest") -> "MakeRequest":
    """Make requests of a hundred documents, all but 10 of the 400 tokens known."""
    cache = DocumentCache(max_pages=100, page_bytes=1)
    tokens = np.arange(NUM_TOKENS - 10, dtype=np.int32)
    new = NewDocument(b"document", len(tokens), tokens, (0, len(tokens)), is_cut=False)
    cache.commit(filter(None, [cache.reserve(new)]))

    def make(name: int) -> EncodedRequest:
        request = make_request(NUM_TOKENS, name, num_documents=100)
        return replace(request, lease=cache.find([b"prefix", b"document"]))

    return make


def test_they_run_before_lists_that_are_computed(
    model: "Model",
    observer: "Observer",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    known: "MakeRequest",
    running: "Running",
    run_for: "RunFor",
) -> None:
    batcher = make_batcher(max_queue_tokens=10**6)
    with running(batcher, model.start):
        run_for(batcher, make_request(NUM_TOKENS, 1, num_documents=100), 400.0)  # a second a token
        computed = [
            batcher.submit(make_request(NUM_TOKENS, name, num_documents=100)) for name in (2, 3, 4)
        ]
        assert model.entered.acquire(timeout=60)
        # Before the end of the one that runs, not to speak of those that wait.
        hot = [batcher.submit(known(name), 400.0 + 100.0) for name in (5, 6)]
        with pytest.raises(OverloadedError):
            batcher.submit(make_request(NUM_TOKENS, 7, num_documents=100), 400.0 + 500.0)
        model.gate.set()
        for job in (*computed, *hot):
            job.future.result(60)
    assert model.batches[:2] == [[1], [2]]
    assert model.batches[2:4] == [[5], [6]]
    assert model.batches[4:] == [[3], [4]]


def test_the_queue_is_told_what_they_really_cost(
    model: "Model",
    clock: "Clock",
    make_batcher: "MakeBatcher",
    make_request: "MakeRequest",
    known: "MakeRequest",
    running: "Running",
    run_for: "RunFor",
) -> None:
    batcher = make_batcher(max_queue_tokens=10**6)
    with running(batcher, model.start):
        for _ in range(30):  # a known token takes a quarter of a computed one
            run_for(batcher, make_request(NUM_TOKENS, 1, num_documents=100), 400.0)
            run_for(batcher, known(2), 10 + 390 / 4)
        assert model.entered.acquire(blocking=False) is False
        batcher.submit(make_request(NUM_TOKENS, 3, num_documents=100))
        assert model.entered.acquire(timeout=60)
        before_s = batcher.predicted_wait_s
        batcher.submit(known(4))
        assert batcher.predicted_wait_s - before_s == pytest.approx(10 + 390 / 4, rel=0.1)
        assert before_s == pytest.approx(400, rel=0.1)
        model.gate.set()
