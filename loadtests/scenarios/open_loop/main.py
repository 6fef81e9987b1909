"""Leads one run from the command line to the report and the exit code."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from open_loop.capacity import CapacityError
from open_loop.command_line import RunOptions, parse
from open_loop.objectives import ObjectiveError
from open_loop.runner import run_scenario
from open_loop.server import ServerError, TestedServer, own_server, wait_until_ready

MET, MISSED, NO_REPORT = 0, 1, 2


def main() -> int:
    """Return the exit code: 0 if every objective is met, 1 if one is missed, 2 without a report."""
    options = parse(sys.argv[1:])
    try:
        with _folder(options) as folder, _server(options, folder) as server:
            wait_until_ready(server)
            report = run_scenario(options, server.host, folder)
    except (ServerError, CapacityError, ObjectiveError) as error:
        print(f"error: {error}", file=sys.stderr)
        return NO_REPORT
    except KeyboardInterrupt:
        print("interrupted: no report", file=sys.stderr)
        return NO_REPORT
    for verdict in report.verdicts:
        print(verdict)
    if server.exit_code:
        print(f"MISSED the server ends with 0: {server.exit_code}")
    return MET if report.is_met and not server.exit_code else MISSED


@contextmanager
def _folder(options: RunOptions) -> Iterator[Path]:
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        yield options.keep
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextmanager
def _server(options: RunOptions, folder: Path) -> Iterator[TestedServer]:
    if options.host is not None:
        yield TestedServer(options.host)
        return
    with own_server(options.settings, folder / "server.log", options.command) as server:
        yield server
