"""A server process on the fake ranker, which does as the words of a request say.

hold: the model waits for a line on stdin. poison, memory, die: it fails, lacks memory, ends.
later, earlier: the wall clock jumps by a day, by two.
"""

import runpy
import sys
import time
from pathlib import Path
from typing import Any

from blockrank_server.models.errors import CheckpointError, DeviceMemoryError
from blockrank_server.service.api.server import serve
from blockrank_server.service.cli.main import exit_code
from blockrank_server.service.settings import Settings

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "conftest.py"))


DAY_S = 86400


def set_wall_clock(by_s: float) -> None:
    now = time.time
    time.time = lambda: now() + by_s
    time.time_ns = lambda: int(time.time() * 1e9)


def obey(batch: Any) -> None:
    said = {int(token) for request in batch for token in request.token_ids}
    if FAKE["token"]("hold") in said:
        print("holding", flush=True)
        sys.stdin.readline()
    if FAKE["token"]("later") in said:
        set_wall_clock(DAY_S)
    if FAKE["token"]("earlier") in said:
        set_wall_clock(-2 * DAY_S)
    if FAKE["token"]("poison") in said:
        raise ValueError("poison")
    if FAKE["token"]("memory") in said:
        raise DeviceMemoryError("the batch does not fit the memory")
    if FAKE["token"]("die") in said:
        raise SystemExit


def open_fake(settings: Settings) -> Any:
    if settings.model == "broken":
        raise CheckpointError("a tensor\nis missing")
    if settings.model == "slow":
        print("loading", flush=True)
        sys.stdin.readline()
    return FAKE["FakeRanker"](before_score=obey)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: serve(Settings(), open_ranker=open_fake)))
