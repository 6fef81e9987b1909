"""Writes what evaluate leaves in a folder: the report, the numbers as JSON, pictures."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from blockrank_server.models.evaluation.evaluation import as_json
from blockrank_server.models.evaluation.latency import Latency
from blockrank_server.models.evaluation.plots import plot
from blockrank_server.models.evaluation.report import as_markdown
from blockrank_server.models.evaluation.results import Judging, SetResult
from blockrank_server.models.files.output_file import write_text


def write_results(
    folder: Path,
    made_by: dict[str, Any],
    judging: Judging,
    results: Sequence[SetResult],
    latency: Sequence[Latency],
    *,
    has_plots: bool,
) -> None:
    """Write results.md and results.json, and print the report; pictures only if has_plots.

    Args:
        folder: made if it is not there.
        made_by: what decides the scores, as models/evaluation/fingerprint.py tells it.
        judging: the measures.
        results: one for each row of the report.
        latency: the times of single requests; empty if none were timed.
        has_plots: write pictures too, and print their paths to standard error.
    """
    title = _title(made_by)
    folder.mkdir(parents=True, exist_ok=True)
    report = as_markdown(title, results, judging, latency)
    write_text(folder / "results.md", report)
    text = json.dumps(as_json(title, made_by, results, judging, latency), indent=1) + "\n"
    write_text(folder / "results.json", text)
    print(report)
    if has_plots:
        rows = [result.row for result in results]
        for path in plot(folder, title, judging.main, rows, latency):
            print(path, file=sys.stderr)


def _title(made_by: dict[str, Any]) -> str:
    made_on = f"torch {version('torch')}, {datetime.now(UTC).date().isoformat()}"
    if "run" in made_by:
        return f"The run {made_by['run']}, {made_on}"
    bits = [made_by["dtype"], made_by["quantization"]]
    numbers = " ".join(b for b in bits if b != "none")
    return f"{made_by['name']} by {made_by['by']}, {numbers} on {made_by['device']}, {made_on}"
