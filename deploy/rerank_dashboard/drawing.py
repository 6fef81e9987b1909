"""How a panel of the dashboard's file is drawn by matplotlib: its lines, cells, or number."""

import math
import re
from collections.abc import Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FuncFormatter, LogLocator, MultipleLocator, NullLocator

from blockrank_server.service.metrics import BUCKETS

INK, FAINT, EDGE = "#24292F", "#6E7781", "#D8DEE4"
# For lines that the dashboard gives no color; Grafana has its own.
_PALETTE = ("#1F60C4", "#FF9830", "#2F9E44", "#E02F44", "#A352CC", "#00B3A4", "#8E8E8E", "#E0B400")
_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


class Series(NamedTuple):
    """One line of a panel.

    Attributes:
        name: in the legend.
        points: (seconds since 1970, value).
    """

    name: str
    points: list[tuple[float, float]]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


def lines(axes: Axes, panel: dict[str, Any], series: Sequence[Series]) -> None:
    """Draw a panel of type timeseries."""
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    spare = cycle(_PALETTE)
    colors = [_color(panel, each.name) or next(spare) for each in series]
    if custom.get("stacking", {}).get("mode") == "normal":
        grid = sorted({time_s for each in series for time_s, _ in each.points})
        rows = [[dict(each.points).get(time_s, 0.0) for time_s in grid] for each in series]
        labels = [each.name for each in series]
        axes.stackplot(_times(grid), rows, colors=colors, alpha=0.75, labels=labels, linewidth=0)
    else:
        for each, color in zip(series, colors, strict=True):
            times = _times([time_s for time_s, _ in each.points])
            axes.plot(times, [v for _, v in each.points], color=color, lw=1.1, label=each.name)
    if custom.get("scaleDistribution", {}).get("type") == "log":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 3.0), numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    _red_above(axes, defaults.get("thresholds", {}).get("steps", ()))
    _round_ticks(axes, defaults["unit"])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value, defaults["unit"])))
    _time_axis(axes)
    _legend(axes, [each.name for each in series])


def _round_ticks(axes: Axes, unit: str) -> None:
    """Where steps of 1, 2 or 5 are not round: powers of two for bytes, whole minutes."""
    top = axes.get_ylim()[1]
    if unit == "bytes":
        axes.yaxis.set_major_locator(MultipleLocator(2 ** round(math.log2(top / 6))))
    elif unit == "s" and top > 120:
        axes.yaxis.set_major_locator(MultipleLocator(60 * math.ceil(top / 360)))


def _legend(axes: Axes, names: Sequence[str]) -> None:
    num_rows = 1 + sum(len(name) + 3 for name in names) // 75
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.13),
        ncols=math.ceil(len(names) / num_rows),
        fontsize=5.6,
        frameon=False,
        handlelength=0.9,
        handletextpad=0.4,
        columnspacing=0.8,
    )


def cells(axes: Axes, panel: dict[str, Any], series: Sequence[Series]) -> None:
    """Draw a panel of type heatmap from the cumulative buckets of a histogram."""
    rows = sorted(series, key=lambda each: float(each.name))
    edges = [float(each.name) for each in rows]
    grid = sorted({time_s for each in rows for time_s, _ in each.points})
    table = np.array([[dict(each.points).get(time_s, 0.0) for time_s in grid] for each in rows])
    counts = np.diff(table, axis=0, prepend=0)
    used = np.flatnonzero(counts.sum(axis=1) > 0)
    low, high = used[0], min(used[-1], len(edges) - 2)  # the last edge is infinite
    shown = counts[low : high + 1]
    lower = edges[low] / math.sqrt(2)
    ends = [*grid, grid[-1] + (grid[-1] - grid[-2])]
    axes.pcolormesh(
        _times(ends),
        [lower, *edges[low : high + 1]],
        np.ma.masked_less_equal(np.sqrt(shown), 0),
        cmap="viridis",
    )
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    unit = panel["fieldConfig"]["defaults"]["unit"]
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value, unit)))
    _time_axis(axes)


def number(axes: Axes, panel: dict[str, Any], series: Sequence[Series]) -> None:
    """Draw a panel of type stat."""
    defaults = panel["fieldConfig"]["defaults"]
    (newest,) = series
    shown, size = text(newest.last, defaults["unit"]), 17.0
    if panel["options"]["textMode"] == "name":
        words = newest.name.split()
        shown, size = f"{words[0]}\n{' '.join(words[1:])}", 8.0
    steps = defaults["thresholds"]["steps"]
    reached = [s["color"] for s in steps if s["value"] is None or newest.last >= s["value"]]
    axes.text(0.5, 0.42, shown, ha="center", va="center", size=size, color=reached[-1])
    axes.set_axis_off()


def in_order(series: Sequence[Series]) -> list[Series]:
    """Buckets of documents by size, all else by name."""
    if all(each.name in BUCKETS for each in series):
        return sorted(series, key=lambda each: BUCKETS.index(each.name))
    return sorted(series, key=lambda each: each.name)


def text(value: float, unit: str) -> str:
    """A value as a person would write it."""
    if unit == "percentunit":
        return f"{100 * value:.3g} %" if abs(value) < 10 else f"{100 * value:,.0f} %"
    if unit == "s":
        return _seconds(value)
    if unit == "bytes":
        return f"{value / 2**30:.3g} GiB" if value >= 2**30 else f"{value / 2**20:.3g} MiB"
    suffix = {"reqps": "/s", "cps": "/s"}.get(unit, "")
    for step, name in _STEPS:
        if abs(value) >= step:
            return f"{value / step:.3g} {name}{suffix}"
    return f"{value:.3g}{suffix}"


def _seconds(value: float) -> str:
    if value >= 120:
        return f"{value / 60:.3g} min"
    return f"{1000 * value:.3g} ms" if 0 < value < 1 else f"{value:.3g} s"


def _color(panel: dict[str, Any], name: str) -> str | None:
    for override in panel["fieldConfig"]["overrides"]:
        if re.search(override["matcher"]["options"].strip("/"), name):
            return str(override["properties"][0]["value"]["fixedColor"])
    return None


def _red_above(axes: Axes, steps: Sequence[dict[str, Any]]) -> None:
    bottom, top = axes.get_ylim()
    for step in steps:
        if step["value"] is not None and bottom < step["value"] < top:
            axes.axhspan(step["value"], top, color=step["color"], alpha=0.06, lw=0)
            axes.axhline(step["value"], color=step["color"], lw=0.8, ls="--")
            axes.set_ylim(bottom, top)


def _time_axis(axes: Axes) -> None:
    locator = AutoDateLocator(maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call]
    )
    axes.margins(x=0)
    axes.grid(color=EDGE, lw=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=6, colors=FAINT, length=2)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(EDGE)


def _times(seconds: Sequence[float]) -> npt.NDArray[np.float64]:
    return np.asarray(seconds) / 86_400  # matplotlib counts days since 1970
