"""A server process on the fake ranker, whose model takes time, fails and runs out of memory.

What a document's words make of it: "fail" makes a batch fail, "slow" makes it slow.
"""

import runpy
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from blockrank_server.models.document_cache.document_cache import DocumentCache
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.service.api import server
from blockrank_server.service.api.app import create_app
from blockrank_server.service.metrics import Metrics
from blockrank_server.service.scheduler.job import Drop
from blockrank_server.service.scheduler.metrics import Incident
from blockrank_server.service.settings import Settings
from deploy_kit.keeping_ranker import keeping_ranker

FAKE = runpy.run_path(str(Path(__file__).parents[2] / "service" / "conftest.py"))
FAIL, SLOW = (FAKE["token"](word) for word in ("fail", "slow"))
MAX_DOCUMENTS = 1200  # past the last edge, so that the bucket "more" is used
GIB = 2**30


KeepingRanker = keeping_ranker(FAKE["FakeRanker"], DocumentCache(max_pages=3000, page_bytes=2**14))


class Model:
    """What happens on the model's thread."""

    def __init__(self) -> None:
        self.metrics: Metrics | None = None
        self.num_batches = 0
        self.num_tokens = 0

    def create_app(self, *args: Any, **kwargs: Any) -> Any:
        """Do as the service does, and remember the metrics."""
        app = create_app(*args, **kwargs)
        self.metrics = app.state.metrics
        return app

    def open(self, settings: Settings) -> Any:
        ranker = KeepingRanker(max_documents=MAX_DOCUMENTS, before_score=self)
        ranker.device_memory = lambda: (16 * GIB + self.num_tokens * 2**18, 24 * GIB)
        return ranker

    def __call__(self, batch: Sequence[EncodedRequest]) -> None:
        """A forward pass: about 250,000 tokens a second."""
        self.num_batches += 1
        words = {int(each) for request in batch for each in request.token_ids}
        self.num_tokens = sum(request.num_tokens for request in batch)
        time.sleep(0.004 + 4e-6 * self.num_tokens + (0.4 if SLOW in words else 0.0))
        self._befall()
        if FAIL in words:
            raise RuntimeError("told to fail")

    def _befall(self) -> None:
        """Count what no batch of a fake model meets by itself."""
        assert self.metrics is not None
        batches = self.metrics.scheduler
        if self.num_batches % 9 == 0:
            batches.incident(Incident.SPLIT)
        if self.num_batches % 5 == 0:
            batches.incident(Incident.PREEMPTING)
        if self.num_batches % 25 == 0:
            batches.incident(Incident.FAILED)
            batches.dropped(Drop.DEADLINE)
        if self.num_batches % 15 == 0:
            batches.dropped(Drop.CLIENT_GONE)


if __name__ == "__main__":
    model = Model()
    with patch.object(server, "create_app", model.create_app):
        sys.exit(server.serve(Settings(), open_ranker=model.open))
