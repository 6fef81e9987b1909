"""When requests arrive, and how large they are."""

import itertools
from collections import Counter
from statistics import mean, stdev
from typing import TYPE_CHECKING

import pytest

from open_loop.arrivals import schedule
from open_loop.faults import Fault, Faults
from open_loop.list_lengths import parse_list_lengths
from open_loop.plan import from_json, timed_stages
from open_loop.scenarios import SCENARIOS, Scenario

if TYPE_CHECKING:
    from tests.loadtests.conftest import MakePlan


def test_a_mix_is_read_in_any_order_and_written_as_it_is_read() -> None:
    list_lengths = parse_list_lengths("100:0.2,10:0.5,20:0.3")
    assert str(list_lengths) == "10:0.5,20:0.3,100:0.2"
    assert list_lengths.counts == (10, 20, 100)
    assert list_lengths.mean == pytest.approx(31)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not of the form COUNT:SHARE"),
        ("10", "'10' is not of the form COUNT:SHARE"),
        ("ten:1", "'ten:1' is not of the form COUNT:SHARE"),
        ("10:0.5,", "'' is not of the form COUNT:SHARE"),
        ("10:0.5:0.5", "'10:0.5:0.5' is not of the form COUNT:SHARE"),
        ("10:0.5,10:0.5", "document count 10 is there twice"),
        ("0:1", "document count 0 is not within 1 .. 1000"),
        ("1001:1", "document count 1001 is not within 1 .. 1000"),
        ("10:0,20:1", "share 0 of document count 10 is not within (0, 1]"),
        ("10:nan", "share nan of document count 10 is not within (0, 1]"),
        ("10:-1,20:2", "share -1 of document count 10 is not within (0, 1]"),
        ("10:0.5,20:0.3", "shares of '10:0.5,20:0.3' sum to 0.8, not to 1"),
    ],
)
def test_a_bad_mix_is_refused_with_its_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        parse_list_lengths(text)
    assert message in str(raised.value)


def test_a_mix_in_proportion_is_off_by_less_than_one_request_of_each() -> None:
    list_lengths = parse_list_lengths("10:0.5,20:0.3,100:0.2")
    taken = list(itertools.islice(list_lengths.in_proportion(), 500))
    for number in (1, 7, 10, 33, 500):
        seen = Counter(taken[:number])
        assert all(abs(seen[count] - share * number) < 1 for count, share in list_lengths.shares)


def test_arrivals_are_a_poisson_process_of_the_stages_rate(make_plan: "MakePlan") -> None:
    arrivals = schedule(make_plan((20.0, 500.0)))
    times = [arrival.intended_s for arrival in arrivals]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    # 10,000 expected: four standard deviations are 400 arrivals, or 4 % of a mean gap.
    assert len(arrivals) == pytest.approx(10_000, abs=400)
    assert mean(gaps) == pytest.approx(1 / 20, rel=0.04)
    assert stdev(gaps) / mean(gaps) == pytest.approx(1, abs=0.04)
    seconds = Counter(int(time) for time in times)
    counts = [seconds[second] for second in range(500)]
    assert stdev(counts) ** 2 / mean(counts) == pytest.approx(1, abs=0.26)


def test_each_stage_has_its_own_rate_and_keeps_to_its_time(make_plan: "MakePlan") -> None:
    plan = make_plan((5.0, 100.0), (50.0, 40.0), (0.01, 1.0), (5.0, 100.0))
    arrivals = schedule(plan)
    found = Counter(arrival.stage for arrival in arrivals)
    assert found[0] == pytest.approx(500, abs=90)
    assert found[1] == pytest.approx(2000, abs=180)
    assert found[3] == pytest.approx(500, abs=90)
    for arrival in arrivals:
        start_s = plan.stage_start_s(arrival.stage)
        end_s = start_s + plan.stages[arrival.stage].duration_s
        assert start_s <= arrival.intended_s < end_s
    assert [a.intended_s for a in arrivals] == sorted(a.intended_s for a in arrivals)
    assert [arrival.index for arrival in arrivals] == list(range(len(arrivals)))


def test_the_schedule_is_that_of_its_seed(make_plan: "MakePlan") -> None:
    plan = make_plan((20.0, 10.0), list_lengths="5:0.5,10:0.5")
    assert schedule(plan) == schedule(plan)
    assert schedule(plan) != schedule(make_plan((20.0, 10.0), list_lengths="5:0.5,10:0.5", seed=8))


def test_document_counts_and_faults_have_the_shares_asked_for(make_plan: "MakePlan") -> None:
    faults = Faults(slow=0.1, leaving=0.2, leaving_mid_body=0.05)
    arrivals = schedule(
        make_plan((50.0, 200.0), list_lengths="10:0.5,20:0.3,100:0.2", faults=faults)
    )
    counts = Counter(arrival.num_documents for arrival in arrivals)
    kinds = Counter(arrival.fault for arrival in arrivals)
    shares = {10: 0.5, 20: 0.3, 100: 0.2}
    assert {k: v / len(arrivals) for k, v in counts.items()} == pytest.approx(shares, abs=0.02)
    expected = {
        Fault.SLOW: 0.1,
        Fault.LEAVING: 0.2,
        Fault.LEAVING_MID_BODY: 0.05,
        Fault.NONE: 0.65,
    }
    assert {k: v / len(arrivals) for k, v in kinds.items()} == pytest.approx(expected, abs=0.02)


def test_lists_come_again_only_after_all_others_of_their_count(make_plan: "MakePlan") -> None:
    arrivals = schedule(make_plan((50.0, 10.0), list_lengths="10:0.5,20:0.5", max_lists=30))
    for count in (10, 20):
        numbers = [a.list_number for a in arrivals if a.num_documents == count]
        assert len(numbers) > 60
        assert numbers == [place % 30 for place in range(len(numbers))]


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.1), (-0.1, 0.0, 0.0)])
def test_shares_of_faults_beyond_all_clients_are_refused(
    shares: tuple[float, float, float],
) -> None:
    with pytest.raises(ValueError, match="shares of faults"):
        Faults(*shares)


def test_a_plan_survives_the_way_to_the_generator(make_plan: "MakePlan") -> None:
    plan = make_plan((5.0, 1.0), (2.5, 3.0), list_lengths="5:0.25,10:0.75", faults=Faults(slow=0.5))
    assert from_json(plan.to_json()) == plan


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda scenario: scenario.name)
def test_rates_are_shares_of_capacity(scenario: Scenario) -> None:
    stages = timed_stages(scenario, capacity_per_s=10.0, time_scale=0.5)
    assert [stage.rate_per_s for stage in stages] == [10 * s.load for s in scenario.stages]
    assert sum(stage.duration_s for stage in stages) == scenario.duration_s / 2
