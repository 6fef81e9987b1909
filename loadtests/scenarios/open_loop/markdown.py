"""Writes a report for people."""

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
# Column title, statistic, format.
Column = tuple[str, str, str]

_RATES: Sequence[Column] = (
    ("offered", "offered", "d"),
    ("offered/s", "offered_per_s", ".2f"),
    ("load", "offered_load", ".2f"),
    ("achieved/s", "achieved_per_s", ".2f"),
    ("goodput/s", "goodput_per_s", ".2f"),
    ("goodput share", "goodput_share", ".1%"),
)
_LATENCIES: Sequence[Column] = (
    ("p50, ms", "p50_ms", ".0f"),
    ("p95, ms", "p95_ms", ".0f"),
    ("p99, ms", "p99_ms", ".0f"),
    ("p99/p50", "p99_over_p50", ".1f"),
)
_FIFO: Sequence[Column] = (("FIFO's p99, ms", "fifo_p99_ms", ".0f"),)
_ERRORS: Sequence[Column] = (
    ("429", "status_429", "d"),
    ("503", "status_503", "d"),
    ("504", "status_504", "d"),
    ("other", "status_other", "d"),
    ("left", "left", "d"),
    ("client failures", "client_failures", "d"),
    ("unanswered", "unanswered", "d"),
    ("429 p99, ms", "rejected_p99_ms", ".0f"),
)
_SPLIT: Sequence[Column] = tuple(
    (f"{name} {q}, ms", f"{name}_{q}_ms", ".1f")
    for name in ("tokenize", "queue", "infer")
    for q in ("p50", "p99")
)


def table(first: str, columns: Sequence[Column], rows: Mapping[str, Row]) -> str:
    """Write a Markdown table; the rows' names come first, a value that is missing is a dash."""
    lines = [[first, *(title for title, _, _ in columns)], ["---"] * (len(columns) + 1)]
    for name, row in rows.items():
        lines.append([name, *(_cell(row.get(key), form) for _, key, form in columns)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)


def markdown(body: Row, plot: str) -> str:
    """Write the report in Markdown.

    Args:
        plot: the name of the picture beside it.
    """
    documents = {**body["documents"], "all": body["total"]}
    sections = [
        f"# Load scenario {body['scenario']}: {body['purpose']}?\n",
        "".join(f"- {name}: {value}\n" for name, value in _conditions(body)),
        _objectives(body),
        f"![rate and latency over time]({plot})\n",
        "## By document count, measured stages\n",
        table("documents", [*_RATES, *_LATENCIES, *_FIFO], documents),
        table("documents", _ERRORS, documents),
        "## Where the server spent the time (Server-Timing of answers with scores)\n",
        table("documents", _SPLIT, documents),
        "## By stage\n",
        table("stage", [*_RATES, *_LATENCIES], body["stages"]),
        table("stage", _ERRORS, body["stages"]),
        "## Server and generator\n",
        _machines(body["total"]),
        _reconciliation(body["reconciliation"]),
    ]
    return "\n".join(sections)


def _conditions(body: Row) -> list[tuple[str, str]]:
    return [
        (
            name,
            ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value,
        )
        for name, value in body["conditions"].items()
    ]


def _objectives(body: Row) -> str:
    lines = ["| objective | found | |\n| --- | --- | --- |\n"]
    for each in body["objectives"]:
        found = "no value" if each["value"] is None else f"{each['value']:.4g}"
        verdict = "met" if each["is_met"] else "**missed**"
        lines.append(f"| {each['objective']} | {found} | {verdict} |\n")
    return "".join(lines)


def _machines(total: Row) -> str:
    lines = {
        "server's resident memory at the start, MiB": ("memory_start_mib", ".0f"),
        "at its peak, MiB": ("memory_peak_mib", ".0f"),
        "at the end, MiB": ("memory_end_mib", ".0f"),
        "last tenth of the run over its second tenth": ("memory_growth_share", "+.1%"),
        "server's processor time, cores": ("server_cpu", ".2f"),
        "generator's processor time, cores": ("generator_cpu", ".2f"),
        "generator's share of its machine": ("generator_cpu_of_machine", ".1%"),
        "generator late, p50, ms": ("lag_p50_ms", ".1f"),
        "generator late, p99, ms": ("lag_p99_ms", ".1f"),
        "generator late, at most, ms": ("lag_max_ms", ".1f"),
        "recovery after the overload, s": ("recovery_s", ".1f"),
    }
    return "| | |\n| --- | --- |\n" + "".join(
        f"| {name} | {_cell(total[key], form)} |\n" for name, (key, form) in lines.items()
    )


def _reconciliation(counts: Row) -> str:
    lines = [
        f"- requests sent {counts['sent']}, received and ended by the server {counts['received']}, "
        f"still in its queue {counts['waiting']}\n",
        f"- statuses at the client {_counts(counts['answered'])}; left {counts['num_left']}\n",
    ]
    lines += [f"- `{name}` grew by {_counts(grown)}\n" for name, grown in counts["server"].items()]
    return "".join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label}: {n}" for label, n in sorted(counts.items())) or "nothing"
