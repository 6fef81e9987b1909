"""What a report says, from samples made by hand."""

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_loop.arrivals import schedule
from open_loop.faults import Fault
from open_loop.fifo_baseline import fifo_latencies_s
from open_loop.memory import cpu_statistics, memory_statistics
from open_loop.recovery import IN_A_ROW, recovery_s
from open_loop.samples import LEFT, TIMEOUT, WRONG, Reading
from open_loop.statistics import Terms, lag_statistics, percentile, summarize

if TYPE_CHECKING:
    from tests.loadtests.conftest import MakePlan, MakeSample

TERMS = Terms(duration_s=10.0, capacity_documents_per_s=1000.0, answer_within_s=2.0)


@pytest.mark.parametrize(
    ("q", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.001, 1), (0.991, 100)]
)
def test_percentiles_of_one_to_a_hundred(q: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), q) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_the_smallest_value_that_covers_its_share(
    values: list[float], q: float
) -> None:
    found = percentile(values, q)
    assert found is not None
    assert found in values
    assert sum(value <= found for value in values) >= q * len(values) - 1e-6
    assert sum(value < found for value in values) < q * len(values)


def test_there_is_no_percentile_of_nothing_nor_of_a_share_beyond_all() -> None:
    assert percentile([], 0.5) is None
    for q in (0.0, 1.1):
        with pytest.raises(ValueError, match="not within"):
            percentile([1.0], q)


def test_rates_and_errors_are_counted(make_sample: "MakeSample") -> None:
    samples = [
        *(make_sample(latency_s=0.1 * n) for n in range(1, 11)),
        make_sample(latency_s=5.0),  # too late to be of use
        make_sample(status=429, latency_s=0.01),
        make_sample(status=503),
        make_sample(status=504),
        make_sample(status=500),
        make_sample(problem=WRONG),
        make_sample(status=None, problem="ConnectionResetError"),
        make_sample(status=None, problem=TIMEOUT),
        make_sample(status=None, problem=LEFT, fault=Fault.LEAVING),
    ]
    terms = Terms(10.0, 15.0, 2.0, num_offered=20)
    found = summarize(samples, terms)
    assert (found["offered"], found["offered_per_s"]) == (20, 2.0)
    assert (found["scored"], found["achieved_per_s"], found["goodput_per_s"]) == (11, 1.1, 1.0)
    assert found["goodput_share"] == pytest.approx(100 / 150)  # documents, of the capacity's
    assert found["error_share"] == pytest.approx(7 / 18)
    assert [found[f"status_{s}"] for s in (429, 503, 504, "other")] == [1, 1, 1, 1]
    assert (found["left"], found["wrong_answers"], found["client_failures"]) == (1, 1, 1)
    assert found["unanswered"] == 2  # one timed out, one has no sample
    assert (found["p50_ms"], found["p95_ms"], found["max_ms"]) == pytest.approx((600, 5000, 5000))
    assert found["rejected_p99_ms"] == pytest.approx(10)


def test_goodput_is_a_share_of_what_was_offered_below_capacity(make_sample: "MakeSample") -> None:
    samples = [
        make_sample(num_documents=10),
        make_sample(num_documents=30, status=429),
        make_sample(num_documents=50, status=None, problem=LEFT, fault=Fault.LEAVING),
    ]
    assert summarize(samples, TERMS)["goodput_share"] == pytest.approx(0.25)


def test_a_slow_clients_latency_is_not_the_servers(make_sample: "MakeSample") -> None:
    samples = [make_sample(), make_sample(latency_s=1.9, fault=Fault.SLOW)]
    found = summarize(samples, TERMS)
    assert (found["p99_ms"], found["scored"], found["goodput_share"]) == (100, 2, 1)


def test_a_ratio_of_percentiles_needs_samples(make_sample: "MakeSample") -> None:
    few = [make_sample()] * 19
    assert summarize(few, TERMS)["p99_over_p50"] is None
    assert summarize([*few, make_sample(latency_s=0.3)], TERMS)["p99_over_p50"] == pytest.approx(3)


def test_nothing_offered_has_no_figures(make_sample: "MakeSample") -> None:
    found = summarize([], TERMS)
    none = ("goodput_share", "error_share", "p50_ms", "p99_over_p50", "rejected_p99_ms")
    assert [found[name] for name in (*none, "queue_p50_ms")] == [None] * 6
    assert (found["offered"], found["unanswered"]) == (0, 0)


def test_the_servers_time_is_split(make_sample: "MakeSample") -> None:
    timing = [{"tokenize": 1.0, "queue": 2.0 * n, "infer": 10.0, "total": 13.0} for n in (1, 2, 3)]
    found = summarize([make_sample(timing_ms=each) for each in timing], TERMS)
    assert (found["tokenize_p50_ms"], found["queue_p50_ms"], found["queue_p99_ms"]) == (1, 4, 6)


def test_lag_is_that_of_all_samples(make_sample: "MakeSample") -> None:
    found = lag_statistics([make_sample(lag_s=n / 1000) for n in range(1, 101)])
    assert found == pytest.approx({"lag_p50_ms": 50, "lag_p99_ms": 99, "lag_max_ms": 100})


def test_fifo_serves_one_by_one_in_order(make_plan: "MakePlan") -> None:
    arrivals = schedule(make_plan((2.0, 50.0), list_lengths="10:0.5,100:0.5"))
    latencies = fifo_latencies_s(arrivals, documents_per_s=200.0)
    free_s = 0.0
    for arrival, latency_s in zip(arrivals, latencies, strict=True):
        service_s = arrival.num_documents / 200
        assert latency_s >= service_s - 1e-9
        assert arrival.intended_s + latency_s - service_s >= free_s - 1e-9  # the one before is done
        free_s = arrival.intended_s + latency_s
    assert any(math.isclose(latency_s, 0.05) for latency_s in latencies)
    assert max(latencies) > 0.5


def test_recovered_is_when_ten_in_a_row_fare_as_before(make_sample: "MakeSample") -> None:
    before = [make_sample(latency_s=0.1)] * 20
    late = [make_sample(intended_s=100.0 + n, latency_s=0.3) for n in range(4)]
    good = [make_sample(intended_s=104.0 + n, latency_s=0.19) for n in range(5)]
    refused = [make_sample(intended_s=109.0, status=429)]
    at_fault = [make_sample(intended_s=112.5, latency_s=9.0, fault=Fault.SLOW)]
    unknown = [make_sample(intended_s=112.6, latency_s=9.0, num_documents=7)]
    again = [make_sample(intended_s=110.0 + n, latency_s=0.19) for n in range(IN_A_ROW)]
    after = [*late, *good, *refused, *at_fault, *unknown, *again]
    assert recovery_s(before, after, 100.0) == pytest.approx(10)
    assert recovery_s(before, after[:-1], 100.0) is None
    assert recovery_s([], after, 100.0) is None


def reading(at_s: float, mib: float, *, server_s: float = 0.0, generator_s: float = 0.0) -> Reading:
    return Reading(at_s, mib * 2**20, server_s, generator_s, 0.0, 0)


def test_memory_growth_leaves_out_the_warm_up() -> None:
    sizes = [100] * 10 + [200] * 10 + [400] + [210] * 70 + [220] * 9
    found = memory_statistics([reading(n, mib) for n, mib in enumerate(sizes)])
    assert found["memory_start_mib"] == 100
    assert found["memory_peak_mib"] == 400
    assert found["memory_end_mib"] == 220
    assert found["memory_growth_share"] == pytest.approx(0.1)
    assert memory_statistics([reading(0, 1)] * 9)["memory_growth_share"] is None
    assert memory_statistics([])["memory_peak_mib"] is None


def test_processor_time_is_in_cores() -> None:
    first = reading(-1.0, 1, server_s=5.0, generator_s=1.0)
    last = reading(9.0, 1, server_s=20.0, generator_s=3.0)
    found = cpu_statistics([first, last], num_cores=4)
    assert found == {"generator_cpu": 0.2, "server_cpu": 1.5, "generator_cpu_of_machine": 0.05}
    assert cpu_statistics([first], num_cores=4)["generator_cpu"] is None
