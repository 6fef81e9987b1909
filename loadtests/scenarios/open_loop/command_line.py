"""Reads the command line of a run."""

import argparse
import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from open_loop.faults import Faults
from open_loop.list_lengths import ListLengths, parse_list_lengths
from open_loop.objectives import parse_objective, with_changes
from open_loop.scenarios import SCENARIOS, Scenario
from open_loop.server import COMMAND
from open_loop.workload import DocumentLengths

RESULTS = Path(__file__).parents[2] / "results"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Holds what was asked for; see the help of each option.

    Attributes:
        scenario: the one of the table, with the objectives that were given.
        host: the server to test; None starts one for the run.
        command: starts the own server.
        capacity_per_s: None to measure it first.
        capacity_s: how long measuring it takes.
        num_clients: so many send at once while it is measured.
        answer_within_s: None for the server's deadline.
        time_scale: multiplies every duration.
        sample_every_s: the time between readings of the server.
        seed: decides arrivals and request bodies.
        hardware: stands in the report's name.
        out: the folder that gets the report.
        keep: the folder that keeps raw records; None drops them.
    """

    scenario: Scenario
    host: str | None
    settings: dict[str, str]
    command: tuple[str, ...]
    capacity_per_s: float | None
    capacity_s: float
    num_clients: int
    list_lengths: ListLengths
    document_lengths: DocumentLengths
    faults: Faults
    answer_within_s: float | None
    time_scale: float
    sample_every_s: float
    seed: int
    hardware: str | None
    out: Path
    keep: Path | None


def parse(arguments: Sequence[str]) -> RunOptions:
    """Return the options; a wrong one ends the process with a message."""
    parser = _parser()
    args = parser.parse_args(arguments)
    scenario = SCENARIOS[args.scenario]
    try:
        settings = dict(_setting(text) for text in args.set)
        list_lengths = (
            parse_list_lengths(args.documents) if args.documents else scenario.list_lengths
        )
        document_lengths = (
            DocumentLengths() if args.words is None else _document_lengths(args.words)
        )
        faults = _faults(args, scenario.faults)
        objectives = with_changes(scenario.objectives, map(parse_objective, args.objective))
    except ValueError as error:
        parser.error(str(error))
    if args.host is not None and (settings or args.server_command):
        parser.error("--set and --server-command are for a server of the run's own, without --host")
    return RunOptions(
        scenario=dataclasses.replace(scenario, objectives=objectives),
        host=args.host,
        settings=settings,
        command=tuple(shlex.split(args.server_command)) if args.server_command else COMMAND,
        capacity_per_s=args.capacity,
        capacity_s=args.capacity_s,
        num_clients=args.clients,
        list_lengths=list_lengths,
        document_lengths=document_lengths,
        faults=faults,
        answer_within_s=args.answer_within_s,
        time_scale=args.time_scale,
        sample_every_s=args.sample_every_s,
        seed=args.seed,
        hardware=args.hardware,
        out=args.out,
        keep=args.keep,
    )


def _document_lengths(median_words: float) -> DocumentLengths:
    usual = DocumentLengths()
    return DocumentLengths(
        median_words=median_words,
        min_words=min(usual.min_words, max(1, int(median_words))),
        max_words=max(usual.max_words, round(4 * median_words)),
    )


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"--set {text} is not of the form NAME=VALUE")
    return name, value


def _faults(args: argparse.Namespace, usual: Faults) -> Faults:
    given = {
        name: getattr(args, name)
        for name in ("slow", "leaving", "leaving_mid_body", "slow_s", "leave_after_s")
    }
    fields = {name: getattr(usual, name) if v is None else v for name, v in given.items()}
    return Faults(**fields)


def _host(text: str) -> str:
    url = urlsplit(text)
    if url.scheme != "http" or not url.hostname or url.path.strip("/"):
        raise argparse.ArgumentTypeError(f"{text} is not of the form http://name:port")
    return f"http://{url.netloc}"


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _parser() -> argparse.ArgumentParser:
    table = "\n".join(
        f"  {s.name:<10}{s.duration_s:>6.0f} s  {s.purpose}" for s in SCENARIOS.values()
    )
    parser = argparse.ArgumentParser(
        prog="run_scenario.py",
        description="Send one load scenario to a server, write a report, judge its objectives.",
        epilog=f"scenarios:\n{table}\n\nexit code: 0 all objectives met, 1 one missed, 2 no report",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("scenario", choices=tuple(SCENARIOS), metavar="SCENARIO")
    _add_server(parser)
    add("--documents", metavar="LENGTHS", help="document counts, such as 5:0.5,10:0.5")
    add("--words", type=_positive, metavar="N", help="median words of a document (56)")
    add(
        "--objective",
        action="append",
        default=[],
        metavar="S<=X[@PART]",
        help="a limit more, or another; S: statistic of the report, PART: stage or 'N documents'",
    )
    add("--seed", type=int, default=7, help="of arrivals and request bodies (7)")
    add("--time-scale", type=_positive, default=1.0, metavar="X", help="times every duration (1)")
    add(
        "--answer-within-s", type=_positive, metavar="S", help="goodput's limit (server's deadline)"
    )
    add("--sample-every-s", type=_positive, default=2.0, metavar="S", help="reading /metrics (2)")
    add("--slow", type=float, metavar="SHARE", help="of clients that send slowly")
    add("--slow-s", type=_positive, metavar="S", help="they send for so long (2)")
    add("--leaving", type=float, metavar="SHARE", help="of clients that leave while they wait")
    add("--leaving-mid-body", type=float, metavar="SHARE", help="of clients that leave mid-body")
    add("--leave-after-s", type=_positive, metavar="S", help="they leave after so long (0.3)")
    add("--hardware", metavar="NAME", help="of the server, in the report's name")
    add("--out", type=Path, default=RESULTS, metavar="FOLDER", help="of the report")
    add("--keep", type=Path, metavar="FOLDER", help="keep raw records and the server's log there")
    return parser


def _add_server(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--host",
        type=_host,
        metavar="URL",
        help="server to test; without it one is started and stopped",
    )
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="own server's setting")
    add("--server-command", metavar="COMMAND", help="starts the own server")
    add("--capacity", type=_positive, metavar="R", help="requests/s; without it, it is measured")
    add("--capacity-s", type=_positive, default=20.0, metavar="S", help="measuring it (20)")
    add("--clients", type=int, default=8, metavar="N", help="at once while measuring it (8)")
