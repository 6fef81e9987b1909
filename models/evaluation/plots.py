"""Draws results: the measure and the latency against documents, and calibration."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from blockrank_server.models.evaluation.calibration import Bin
from blockrank_server.models.evaluation.latency import Latency
from blockrank_server.models.evaluation.results import SetRow

_SIZE = (8.0, 5.0)
_DOTS_PER_INCH = 120
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def plot(
    folder: Path, title: str, measure: str, rows: Sequence[SetRow], latency: Sequence[Latency]
) -> list[Path]:
    """Write the pictures there are numbers for; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [_save(_against_documents(title, measure, rows), folder / "measure.png")]
    if latency:
        made.append(_save(_latency(title, latency), folder / "latency.png"))
    if any(r.calibration for r in rows):
        made.append(
            plot_calibration(
                folder / "calibration.png",
                title,
                {name: found[-1].calibration or [] for name, found in _by_set(rows).items()},
            )
        )
    return made


def plot_calibration(path: Path, title: str, bins: Mapping[str, Sequence[Bin]]) -> Path:
    """Draw a line for each set: scores against the share of documents that is relevant."""
    return _save(_calibration(title, bins), path)


def _against_documents(title: str, measure: str, rows: Sequence[SetRow]) -> Figure:
    figure, axes = _figure(title, "documents a list", measure)
    for i, (name, found) in enumerate(_by_set(rows).items()):
        counts = [r.mean_documents for r in found]
        ours = [r.measures[measure].ours for r in found]
        first = [r.measures[measure].first_stage for r in found]
        axes.plot(counts, ours, marker="o", color=f"C{i}", label=name)
        axes.plot(counts, first, marker="x", linestyle=":", color=f"C{i}")
    axes.set_ylim(0, 1)
    axes.set_xscale("log")
    most = max(r.mean_documents for r in rows)
    axes.set_xticks([t for t in _TICKS if t < 2 * most], minor=False)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.plot([], [], color="black", marker="x", linestyle=":", label="first stage")
    return _with_legend(figure, axes)


def _latency(title: str, latency: Sequence[Latency]) -> Figure:
    figure, axes = _figure(title, "documents", "ms a request, median and longest")
    counts = [x.documents for x in latency]
    axes.plot(counts, [x.median_ms for x in latency], marker="o", label="median")
    axes.plot(counts, [x.longest_ms for x in latency], marker="v", linestyle=":", label="longest")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    return _with_legend(figure, axes)


def _calibration(title: str, bins: Mapping[str, Sequence[Bin]]) -> Figure:
    figure, axes = _figure(title, "mean score", "share judged relevant")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, label="calibrated")
    for i, (name, found) in enumerate(bins.items()):
        scores, relevant = [b.score for b in found], [b.relevant for b in found]
        color = "black" if name == "all" else f"C{i}"
        axes.plot(scores, relevant, marker="o", markersize=4, color=color, label=name)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    return _with_legend(figure, axes)


def _by_set(rows: Sequence[SetRow]) -> dict[str, list[SetRow]]:
    """Return the rows of each set, fewest documents first."""
    found: dict[str, list[SetRow]] = {}
    for row in sorted(rows, key=lambda r: r.mean_documents):
        found.setdefault(row.set, []).append(row)
    return dict(sorted(found.items()))


def _figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes


def _with_legend(figure: Figure, axes: Axes) -> Figure:
    axes.legend(fontsize=8, bbox_to_anchor=(1.01, 1), loc="upper left", borderaxespad=0)
    return figure


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=_DOTS_PER_INCH)
    return path
