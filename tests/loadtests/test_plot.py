"""The picture of a run stays small, however busy the run."""

import random
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from open_loop.arrivals import schedule
from open_loop.plot import plot
from open_loop.reconciliation import REQUESTS, Reconciliation
from open_loop.report import Run
from open_loop.samples import Reading
from open_loop.scenarios import SCENARIOS

if TYPE_CHECKING:
    from tests.loadtests.conftest import MakePlan, MakeSample


def make_run(make_plan: "MakePlan", make_sample: "MakeSample") -> Run:
    """Eight document counts, latencies over three decades, every kind of answer."""
    rng = random.Random(5)
    counts = (5, 10, 20, 50, 100, 200, 500, 1000)
    list_lengths = ",".join(f"{count}:0.125" for count in counts)
    plan = make_plan((10.0, 200.0), (40.0, 100.0), (10.0, 60.0), list_lengths=list_lengths)
    arrivals = schedule(plan)
    samples = [
        make_sample(
            index=each.index,
            stage=each.stage,
            num_documents=each.num_documents,
            intended_s=each.intended_s,
            latency_s=10 ** rng.uniform(-2, 1),
            status=rng.choice((200, 200, 429, 504)),
        )
        for each in arrivals
    ]
    readings = [Reading(n, rng.random() * 2**30, n, n, 0.0, 0) for n in range(360)]
    reconciliation = Reconciliation({REQUESTS: {}}, {}, 0, 0, 0)
    return Run(SCENARIOS["mixed"], plan, arrivals, samples, readings, reconciliation, 20.0, 8.0)


def test_a_busy_run_fits_into_200_kb(
    make_plan: "MakePlan", make_sample: "MakeSample", tmp_path: Path
) -> None:
    path = tmp_path / "busy.png"
    plot(make_run(make_plan, make_sample), path, "busy")
    assert path.stat().st_size < 200_000
    with Image.open(path) as picture:
        assert picture.size == (810, 720)
        assert len(picture.convert("RGB").getcolors(1000) or []) > 10
