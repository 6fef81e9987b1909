"""A server process on the fake ranker, which does as the words of a request say.

hold: the model waits for a line on stdin. poison, memory, die: it fails, lacks memory, ends.
later, earlier: the wall clock jumps by a day, by two.

As model "stepwise" it is known to take a tenth of a second a token, and does a request with the
word steps in ten steps, each of which waits for a line on stdin.
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


FakeRanker: Any = FAKE["FakeRanker"]


class StepwiseRanker(FakeRanker):  # type: ignore[misc]
    def warm_up(self) -> tuple[tuple[int, float], tuple[int, float]]:
        super().warm_up()
        return (10, 1.0), (100, 10.0)

    def start(self, batch: Any, between_steps: Any = None) -> Any:
        if any(FAKE["token"]("steps") in request.token_ids for request in batch):
            for step in range(1, 11):
                print(f"step {step}", flush=True)
                sys.stdin.readline()
                between_steps()
        return super().start(batch, between_steps)


def open_fake(settings: Settings) -> Any:
    if settings.model == "broken":
        raise CheckpointError("a tensor\nis missing")
    if settings.model == "slow":
        print("loading", flush=True)
        sys.stdin.readline()
    kind = StepwiseRanker if settings.model == "stepwise" else FakeRanker
    return kind(before_score=obey)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: serve(Settings(), open_ranker=open_fake)))
