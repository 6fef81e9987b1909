"""The dashboard's panels with live data, drawn without Grafana.

    python -m rerank_dashboard.picture --prometheus http://localhost:9090 --minutes 60 to.png

The same file, queries and places; the drawing is matplotlib's.
"""

import argparse
import json
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from rerank_dashboard import drawing
from rerank_dashboard.__main__ import PATH
from rerank_dashboard.drawing import FAINT, INK, Series
from rerank_dashboard.prometheus_api import PrometheusApi
from rerank_dashboard.shown import targets

COLUMNS = 24  # of Grafana's grid
_UNIT_IN = (0.62, 0.3)  # of a column and a line of the grid
_HEAD = 3  # lines of the grid above the panels
_DPI = 100
_DRAW: dict[str, Callable[[Axes, dict[str, Any], Sequence[Series]], None]] = {
    "timeseries": drawing.lines,
    "heatmap": drawing.cells,
    "stat": drawing.number,
}


def draw(api: PrometheusApi, *, minutes: float, rate_interval_s: int, caption: str) -> Figure:
    """A figure of every panel.

    Args:
        api: a Prometheus that scrapes servers.
        minutes: shown, until now.
        rate_interval_s: what $__rate_interval stands for.
        caption: under the title.
    """
    board = json.loads(PATH.read_text(encoding="utf-8"))
    height = _HEAD + max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in board["panels"])
    figure = Figure(figsize=(COLUMNS * _UNIT_IN[0], height * _UNIT_IN[1]), dpi=_DPI)
    figure.text(0.012, 1 - 1.1 / height, board["title"], size=15, weight="bold", color=INK)
    figure.text(0.012, 1 - 2.2 / height, caption, size=8, color=FAINT)
    ends_s = time.time()
    for panel in board["panels"]:
        at = panel["gridPos"]
        top = 1 - (_HEAD + at["y"]) / height
        if panel["type"] == "row":
            figure.text(0.012, top - 0.7 / height, panel["title"], size=11, color=INK)
            continue
        series = _series(api, panel, ends_s - 60 * minutes, ends_s, rate_interval_s)
        box = (
            (at["x"] + 0.85) / COLUMNS,
            top - (at["h"] - 1.5) / height,
            (at["w"] - 1.2) / COLUMNS,
            (at["h"] - 2.7) / height,
        )
        axes = figure.add_axes(box)
        axes.set_title(panel["title"], size=7.5, color=INK, loc="left", weight="bold", pad=4)
        _DRAW[panel["type"]](axes, panel, series)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of at most 128 colors, which is a third of its size."""
    figure.savefig(path, facecolor="white")
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def _series(
    api: PrometheusApi, panel: dict[str, Any], start_s: float, end_s: float, rate_interval_s: int
) -> list[Series]:
    step_s = max(1.0, (end_s - start_s) / 240)
    found = []
    for target in targets(panel, rate_interval_s=rate_interval_s):
        if target.is_instant:
            result = api.at(target.expr, end_s)
        else:
            result = api.over(target.expr, start_s, end_s, step_s)
        found += [Series(target.name(line.labels), line.points) for line in result]
    return drawing.in_order(found)


def main() -> None:
    """Read the arguments and write the picture."""
    parser = argparse.ArgumentParser(description=textwrap.dedent(__doc__ or "").splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--prometheus", default="http://localhost:9090", metavar="URL")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate-interval", type=int, default=60, metavar="SECONDS")
    given = parser.parse_args()
    with PrometheusApi(given.prometheus) as api:
        figure = draw(
            api,
            minutes=given.minutes,
            rate_interval_s=given.rate_interval,
            caption=f"{given.prometheus}, last {given.minutes:g} minutes; times are UTC",
        )
    save(figure, given.path)


if __name__ == "__main__":
    main()
