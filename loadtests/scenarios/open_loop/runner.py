"""Runs a scenario against a ready server, and writes the report."""

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

from open_loop import hardware
from open_loop.arrivals import schedule
from open_loop.capacity import Capacity, measure_capacity
from open_loop.command_line import RunOptions
from open_loop.markdown import markdown
from open_loop.plan import Plan, timed_stages
from open_loop.plot import plot
from open_loop.reconciliation import Reconciliation, Scrape, read_metrics, reconcile
from open_loop.report import Run, RunReport, make_report
from open_loop.samples import Sample, read_readings, read_samples
from open_loop.server import ServerError, get, read_info
from open_loop.workload import RequestBodies

LOCUSTFILE = Path(__file__).parents[1] / "locustfile.py"
# A client that gives up before the server's own deadline would call an answer missing.
_PATIENCE_S = 30.0
_CAPACITY_LISTS = 200
_RECONCILE_WITHIN_S = 10.0


def run_scenario(options: RunOptions, host: str, folder: Path) -> RunReport:
    """Measure the capacity, send, judge, write the report; raw records go to folder.

    Raises:
        ServerError: the server cannot be read, or locust failed.
        CapacityError: the capacity could not be measured.
        ObjectiveError: an objective cannot be judged.
    """
    info = read_info(host)
    label = hardware.label(info, host, options.hardware)
    deadline_s = info["request_timeout_ms"] / 1000
    capacity = _capacity(options, host, deadline_s)
    capacity_per_s = capacity.capacity_per_s if capacity else options.capacity_per_s
    assert capacity_per_s is not None  # measured exactly if it was not given
    plan = Plan(
        host=host,
        stages=timed_stages(options.scenario, capacity_per_s, options.time_scale),
        list_lengths=options.list_lengths,
        faults=options.faults,
        document_lengths=options.document_lengths,
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
        reconciliation=reconcile(before, before, ()),
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
        reconciliation=_reconcile(host, before, samples),
    )
    report = make_report(run, _conditions(run, info, label, capacity))
    _write(report, run, options.out, label)
    return report


def _capacity(options: RunOptions, host: str, deadline_s: float) -> Capacity | None:
    if options.capacity_per_s is not None:
        return None
    # In proportion: at random, few requests would hold too many or too few of the long lists.
    keys = list(enumerate(islice(options.list_lengths.in_proportion(), _CAPACITY_LISTS)))
    bodies = RequestBodies(
        ((count, n) for n, count in keys), options.document_lengths, options.seed
    )

    def body(index: int) -> bytes:
        number, num_documents = keys[index % len(keys)]
        return bodies.body(num_documents, number, index)

    print(f"measuring capacity for {options.capacity_s:g} s", flush=True)
    found = measure_capacity(
        host,
        body,
        num_clients=options.num_clients,
        duration_s=options.capacity_s,
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


def _reconcile(host: str, before: Scrape, samples: Sequence[Sample]) -> Reconciliation:
    """Compares the counts until they agree: a server may notice later that a client has gone."""
    ends_s = time.monotonic() + _RECONCILE_WITHIN_S
    while True:
        reconciliation = reconcile(before, _scrape(host), samples)
        if reconciliation.num_unreconciled == 0 or time.monotonic() > ends_s:
            return reconciliation
        time.sleep(_RECONCILE_WITHIN_S / 20)


def _conditions(
    run: Run, info: dict[str, Any], label: str, capacity: Capacity | None
) -> dict[str, Any]:
    plan = run.plan
    measured = (
        f"measured with {capacity.num_clients} clients for {capacity.duration_s:g} s, "
        f"{capacity.num_scored} requests"
        if capacity
        else "given"
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "server's hardware": label,
        "generator's machine": hardware.generator(),
        "versions where the generator runs": hardware.versions(),
        "capacity": f"{run.capacity_per_s:.4g} requests/s of these list lengths, {measured}",
        "stages": "; ".join(
            f"{s.name} {s.rate_per_s:.3g}/s for {s.duration_s:g} s" for s in plan.stages
        ),
        "document counts": str(plan.list_lengths),
        "document lengths": str(plan.document_lengths),
        "texts": f"squad-sample, seed {plan.seed}, at most {plan.max_lists} different lists of a "
        "document count, every query different",
        "faults": str(plan.faults),
        "goodput": f"scored within {run.answer_within_s:g} s of the intended arrival",
        "server": hardware.settings(info),
    }


def _write(report: RunReport, run: Run, out: Path, label: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    date = datetime.now(UTC).date().isoformat()
    name = f"{run.scenario.name}_{label}_{date}"
    picture = f"{name}.png"
    plot(run, out / picture, f"{run.scenario.name} on {label}, {date}")
    (out / f"{name}.json").write_bytes(orjson.dumps(report.body, option=orjson.OPT_INDENT_2))
    (out / f"{name}.md").write_text(markdown(report.body, picture))
    print(f"report: {os.path.relpath(out / name)}.md", flush=True)
