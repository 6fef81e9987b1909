"""A server process on the fake ranker, which takes a given time for each token.

python timed_server.py MICROSECONDS
"""

import runpy
import sys
import time
from pathlib import Path
from typing import Any

from blockrank_server.service.api.server import serve
from blockrank_server.service.settings import Settings

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "service" / "conftest.py"))
SECONDS_PER_TOKEN = float(sys.argv[1]) / 1e6


def work(batch: Any) -> None:
    time.sleep(SECONDS_PER_TOKEN * sum(request.num_tokens for request in batch))


def open_fake(settings: Settings) -> Any:
    return FAKE["FakeRanker"](before_score=work)


if __name__ == "__main__":
    sys.exit(serve(Settings(), open_ranker=open_fake))
