"""The index of the results names every file, and no other."""

import re
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "loadtests" / "results"


def test_the_index_lists_the_results_that_are_there() -> None:
    rows = re.findall(
        r"^\| `(\S+)` \(([\w, ]+)\)", (RESULTS / "README.md").read_text(), re.MULTILINE
    )
    listed = {f"{stem}.{ending}" for stem, endings in rows for ending in endings.split(", ")}
    there = {path.name for path in RESULTS.iterdir()}
    assert listed == there - {"README.md", "LOG.md"}
