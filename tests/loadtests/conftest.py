"""Plans and samples made by hand."""

from collections.abc import Callable
from typing import Any

import pytest

from open_loop.faults import NO_FAULTS, Fault
from open_loop.list_lengths import parse_list_lengths
from open_loop.plan import Plan, TimedStage
from open_loop.samples import Sample
from open_loop.workload import DocumentLengths

MakePlan = Callable[..., Plan]
MakeSample = Callable[..., Sample]


@pytest.fixture
def make_plan() -> MakePlan:
    """A plan of (rate, duration) stages."""

    def make(*stages: tuple[float, float], list_lengths: str = "10:1", **changes: Any) -> Plan:
        fields: dict[str, Any] = {
            "host": "http://127.0.0.1:1",
            "stages": tuple(
                TimedStage(f"stage {place}", rate_per_s, duration_s, True)
                for place, (rate_per_s, duration_s) in enumerate(stages)
            ),
            "list_lengths": parse_list_lengths(list_lengths),
            "faults": NO_FAULTS,
            "document_lengths": DocumentLengths(),
            "seed": 7,
            "client_timeout_s": 10.0,
            "sample_every_s": 1.0,
        }
        return Plan(**fields | changes)

    return make


@pytest.fixture
def make_sample() -> MakeSample:
    """A sample: scored after 0.1 s unless said otherwise."""

    def make(**changes: Any) -> Sample:
        fields: dict[str, Any] = {
            "index": 0,
            "stage": 0,
            "num_documents": 10,
            "fault": Fault.NONE,
            "intended_s": 0.0,
            "lag_s": 0.0,
            "latency_s": 0.1,
            "status": 200,
        }
        return Sample(**fields | changes)

    return make
