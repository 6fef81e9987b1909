"""A server process on the fake ranker; holds the model's thread until a line comes on stdin."""

import runpy
import sys
from pathlib import Path
from typing import Any

from blockrank_server.models.errors import CheckpointError
from blockrank_server.service.server import serve
from blockrank_server.service.settings import Settings

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "conftest.py"))
HOLD = FAKE["token"]("hold")


def hold(batch: Any) -> None:
    if any(HOLD in request.token_ids for request in batch):
        print("holding", flush=True)
        sys.stdin.readline()


def open_fake(settings: Settings) -> Any:
    if settings.model == "broken":
        raise CheckpointError("a tensor\nis missing")
    if settings.model == "slow":
        print("loading", flush=True)
        sys.stdin.readline()
    return FAKE["FakeRanker"](before_score=hold)


if __name__ == "__main__":
    sys.exit(serve(Settings(), open_ranker=open_fake))
