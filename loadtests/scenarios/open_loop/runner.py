"""From a ready server to the report on disk."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from open_loop import machine
from open_loop.arrivals import schedule
from open_loop.books import Books, Scrape, balance, read_metrics
from open_loop.calibrate import Calibration, calibrate
from open_loop.command_line import Options
from open_loop.markdown import markdown
from open_loop.plan import Plan, timed_stages
from open_loop.plot import plot
from open_loop.report import Report, Run, make_report
from open_loop.samples import Sample, read_readings, read_samples
from open_loop.server import ServerError, get, read_info
from open_loop.texts import Bodies

LOCUSTFILE = Path(__file__).parents[1] / "locustfile.py"
# A client that gives up before the server's own deadline would call an answer missing.
_PATIENCE_S = 30.0
_CALIBRATION_LISTS = 200
_SETTLE_S = 10.0


def run_scenario(options: Options, host: str, folder: Path) -> Report:
    """Calibrate, send, judge, write the report; raw records go to folder.

    Raises:
        ServerError: the server cannot be read, or locust failed.
        CalibrationError: the capacity could not be measured.
        ObjectiveError: an objective cannot be judged.
    """
    info = read_info(host)
    label = machine.hardware_label(info, host, options.hardware)
    deadline_s = info["request_timeout_ms"] / 1000
    calibration = _calibration(options, host, deadline_s)
    capacity_per_s = calibration.capacity_per_s if calibration else options.capacity_per_s
    assert capacity_per_s is not None  # measured exactly if it was not given
    plan = Plan(
        host=host,
        stages=timed_stages(options.scenario, capacity_per_s, options.time_scale),
        mix=options.mix,
        faults=options.faults,
        lengths=options.lengths,
        seed=options.seed,
        client_timeout_s=deadline_s + options.faults.slow_s + _PATIENCE_S,
        sample_every_s=options.sample_every_s,
    )
    before = _scrape(host)
    planned = Run(
        scenario=options.scenario,
        plan=plan,
        arrivals=schedule(plan),
        samples=(),
        readings=(),
        books=balance(before, before, ()),
        capacity_per_s=capacity_per_s,
        answer_within_s=options.answer_within_s or deadline_s,
    )
    make_report(planned, {})  # objectives that cannot be judged are found before an hour of load
    _run_locust(plan, folder)
    samples = read_samples(folder / "samples.jsonl")
    run = dataclasses.replace(
        planned,
        samples=samples,
        readings=read_readings(folder / "readings.jsonl"),
        books=_settled_books(host, before, samples),
    )
    report = make_report(run, _conditions(run, info, label, calibration))
    _write(report, run, options.out, label)
    return report


def _calibration(options: Options, host: str, deadline_s: float) -> Calibration | None:
    if options.capacity_per_s is not None:
        return None
    # In proportion: at random, few requests would hold too many or too few of the long lists.
    keys = list(enumerate(islice(options.mix.in_proportion(), _CALIBRATION_LISTS)))
    bodies = Bodies(((count, n) for n, count in keys), options.lengths, options.seed)

    def body(index: int) -> bytes:
        number, num_documents = keys[index % len(keys)]
        return bodies.body(num_documents, number, index)

    print(f"measuring capacity for {options.calibrate_s:g} s", flush=True)
    found = calibrate(
        host,
        body,
        num_clients=options.num_clients,
        duration_s=options.calibrate_s,
        timeout_s=deadline_s + _PATIENCE_S,
    )
    print(f"capacity {found.capacity_per_s:.3g} requests/s", flush=True)
    return found


def _run_locust(plan: Plan, folder: Path) -> None:
    path = folder / "plan.json"
    path.write_bytes(plan.to_json())
    print(f"sending for {plan.duration_s:.0f} s", flush=True)
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "-u", "1"]
    command += ["--only-summary", "--plan", str(path), "--records", str(folder)]
    log = folder / "locust.log"
    with log.open("wb") as output:
        code = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode
    if code:
        raise ServerError(f"locust ended with {code}:\n{log.read_text(errors='replace')}")


def _scrape(host: str) -> Scrape:
    return read_metrics(get(host, "/metrics"))


def _settled_books(host: str, before: Scrape, samples: Sequence[Sample]) -> Books:
    """The books, once they balance: a server may notice a moment later that a client has gone."""
    ends_s = time.monotonic() + _SETTLE_S
    while True:
        books = balance(before, _scrape(host), samples)
        if books.num_off == 0 or time.monotonic() > ends_s:
            return books
        time.sleep(_SETTLE_S / 20)


def _conditions(
    run: Run, info: dict[str, Any], label: str, calibration: Calibration | None
) -> dict[str, Any]:
    plan = run.plan
    measured = (
        f"measured with {calibration.num_clients} clients for {calibration.duration_s:g} s, "
        f"{calibration.num_scored} requests"
        if calibration
        else "given"
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "server's hardware": label,
        "generator's machine": machine.generator(),
        "versions where the generator runs": machine.versions(),
        "capacity": f"{run.capacity_per_s:.4g} requests/s of this mix, {measured}",
        "stages": "; ".join(
            f"{s.name} {s.rate_per_s:.3g}/s for {s.duration_s:g} s" for s in plan.stages
        ),
        "document counts": str(plan.mix),
        "document lengths": str(plan.lengths),
        "texts": f"squad-sample, seed {plan.seed}, at most {plan.max_lists} different lists of a "
        "document count, every query different",
        "faults": str(plan.faults),
        "goodput": f"scored within {run.answer_within_s:g} s of the intended arrival",
        "server": machine.settings(info),
    }


def _write(report: Report, run: Run, out: Path, label: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    date = datetime.now(UTC).date().isoformat()
    name = f"{run.scenario.name}_{label}_{date}"
    picture = f"{name}.png"
    plot(run, out / picture, f"{run.scenario.name} on {label}, {date}")
    (out / f"{name}.json").write_bytes(orjson.dumps(report.body, option=orjson.OPT_INDENT_2))
    (out / f"{name}.md").write_text(markdown(report.body, picture))
    print(f"report: {os.path.relpath(out / name)}.md", flush=True)
