"""Objectives, the command line, the capacity: what decides over a run."""

from pathlib import Path

import pytest

from open_loop import hardware
from open_loop.capacity import CapacityError, rate_per_s
from open_loop.command_line import parse
from open_loop.objectives import (
    Objective,
    ObjectiveError,
    judge,
    parse_objective,
    with_changes,
)
from open_loop.scenarios import SCENARIOS
from open_loop.server import ServerError

RUN = {"p99_ms": 250.0, "goodput_share": 0.9, "rejected_p99_ms": None}
PARTS = {"5x": {"p99_ms": 900.0}}


@pytest.mark.parametrize(
    ("objective", "is_met"),
    [
        (Objective("p99_ms", "<=", 250), True),
        (Objective("p99_ms", "<=", 249.9), False),
        (Objective("p99_ms", "<=", 250, part="5x"), False),
        (Objective("goodput_share", ">=", 0.9), True),
        (Objective("goodput_share", ">=", 0.91), False),
        (Objective("rejected_p99_ms", "<=", 1e9), False),
    ],
    ids=str,
)
def test_a_limit_may_be_reached_and_not_passed(objective: Objective, is_met: bool) -> None:
    (verdict,) = judge([objective], RUN, PARTS)
    assert verdict.is_met is is_met


def test_a_verdict_says_statistic_limit_and_value() -> None:
    met, missed, empty = judge(
        [
            Objective("p99_ms", "<=", 300),
            Objective("p99_ms", "<=", 300, part="5x"),
            Objective("rejected_p99_ms", "<=", 250),
        ],
        RUN,
        PARTS,
    )
    assert str(met) == "met    p99_ms <= 300: 250"
    assert str(missed) == "MISSED p99_ms of 5x <= 300: 900"
    assert str(empty) == "MISSED rejected_p99_ms <= 250: no value"


@pytest.mark.parametrize(
    ("objective", "known"),
    [(Objective("p98", "<=", 1), "p99_ms"), (Objective("a", "<=", 1, "6x"), "5x")],
)
def test_an_objective_on_nothing_is_refused_with_what_there_is(
    objective: Objective, known: str
) -> None:
    with pytest.raises(ObjectiveError, match=known):
        judge([objective], RUN, PARTS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p99_ms<=250", Objective("p99_ms", "<=", 250)),
        ("goodput_share >= 0.8@5x", Objective("goodput_share", ">=", 0.8, "5x")),
        ("p99_ms<=2e3@20 documents", Objective("p99_ms", "<=", 2000, "20 documents")),
    ],
)
def test_objectives_are_read(text: str, expected: Objective) -> None:
    assert parse_objective(text) == expected


@pytest.mark.parametrize("text", ["", "p99_ms", "p99_ms<250", "p99_ms<=fast", "p99_ms<=nan", "<=1"])
def test_what_is_no_objective_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not of the form STATISTIC<=LIMIT"):
        parse_objective(text)


def test_a_given_objective_takes_the_place_of_its_like() -> None:
    usual = (Objective("a", "<=", 1), Objective("b", "<=", 1), Objective("b", "<=", 1, "5x"))
    given = [Objective("b", ">=", 2), Objective("c", "<=", 3)]
    assert with_changes(usual, given) == (usual[0], given[0], usual[2], given[1])


def test_the_command_line_changes_a_scenario() -> None:
    line = "mixed --host http://h:1/ --documents 5:0.5,10:0.5 --words 20 --leaving 0.2 --seed 3"
    options = parse([*line.split(), "--objective", "error_share<=0.5", "--time-scale", "0.1"])
    usual = SCENARIOS["mixed"]
    assert (options.host, str(options.list_lengths), options.seed) == (
        "http://h:1",
        "5:0.5,10:0.5",
        3,
    )
    assert (options.document_lengths.median_words, options.time_scale) == (20, 0.1)
    assert (options.faults.leaving, options.faults.slow) == (0.2, usual.faults.slow)
    assert Objective("error_share", "<=", 0.5) in options.scenario.objectives
    assert len(options.scenario.objectives) == len(usual.objectives)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("soaked", "invalid choice: 'soaked'"),
        ("smoke --documents 10", "not of the form COUNT:SHARE"),
        ("smoke --host h:1", "not of the form http://name:port"),
        ("smoke --host https://h:1", "not of the form http://name:port"),
        ("smoke --set model", "--set model is not of the form NAME=VALUE"),
        ("smoke --host http://h --set a=b", "are for a server of the run's own"),
        ("smoke --leaving 2", "shares of faults"),
        ("smoke --capacity 0", "0 is not above 0"),
        ("smoke --objective p99_ms", "not of the form STATISTIC<=LIMIT"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        parse(line.split())
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_every_scenario_holds_that_nothing_is_lost() -> None:
    for scenario in SCENARIOS.values():
        limits = {(each.statistic, each.limit) for each in scenario.objectives}
        assert {("unanswered", 0), ("unreconciled", 0), ("client_failures", 0)} <= limits
        stages = [stage.name for stage in scenario.stages]
        assert len(set(stages)) == len(stages)
        assert {each.part for each in scenario.objectives} <= {None, *stages}
        assert {*scenario.overloads, scenario.reference or stages[0]} <= set(stages)


def test_capacity_is_the_rate_between_the_first_end_and_the_last() -> None:
    assert rate_per_s([3.0 + n / 4 for n in range(41)]) == pytest.approx(4)
    # Batches of four, two a second: the first batch only starts the clock.
    batches = [1.0 + n / 2 + mate / 1000 for n in range(11) for mate in range(4)]
    assert rate_per_s(batches) == pytest.approx(8, rel=0.01)


@pytest.mark.parametrize("ends_s", [[], [1.0], [1.0] * 50, [1.0, 2.0, 3.0]])
def test_a_capacity_of_too_few_requests_is_refused(ends_s: list[float]) -> None:
    with pytest.raises(CapacityError, match=f"only {len(ends_s)} requests were scored"):
        rate_per_s(ends_s)


def test_hardware_that_cannot_be_seen_must_be_named() -> None:
    assert hardware.label({"device": "cpu"}, "http://127.0.0.1:1", None).startswith("cpu-")
    assert hardware.label({"device": "cuda:0"}, "http://far:1", "H200") == "H200"
    for device, host in (("cuda:0", "http://127.0.0.1:1"), ("cpu", "http://far:1")):
        with pytest.raises(ServerError, match="--hardware is needed"):
            hardware.label({"device": device}, host, None)


def test_the_readme_of_the_load_tests_names_every_scenario() -> None:
    readme = (Path(__file__).parents[2] / "loadtests" / "README.md").read_text()
    assert all(f"| {name} |" in readme for name in SCENARIOS)
