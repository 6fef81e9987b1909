"""Draws rate, latency and memory over time, as one picture."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median_low
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from open_loop.report import Run
from open_loop.samples import Sample

# Points in time of a curve; a bin holds at least a second.
_MAX_BINS = 60
_NUM_COLOURS = 64


def plot(run: Run, path: Path, title: str) -> None:
    """Write a PNG of under 200 KB: curves have a fixed number of points, whatever the run."""
    picture = Figure(figsize=(9, 8), dpi=90, layout="constrained")
    FigureCanvasAgg(picture)
    rate, latency, memory = picture.subplots(3, 1, sharex=True, height_ratios=(2, 3, 1))
    width_s = max(1.0, run.plan.duration_s / _MAX_BINS)
    _draw_rates(rate, run, width_s)
    _draw_latencies(latency, run, width_s)
    _draw_memory(memory, run)
    for axes in (rate, latency, memory):
        _mark_stages(axes, run)
    picture.suptitle(title, fontsize=10)
    drawn = io.BytesIO()
    picture.savefig(drawn, format="png")
    # A palette takes a half of the bytes that full colour does, or less.
    with Image.open(drawn) as full:
        full.convert("RGB").quantize(_NUM_COLOURS).save(path, optimize=True)


def _bins(samples: Sequence[Sample], width_s: float, duration_s: float) -> list[list[Sample]]:
    bins: list[list[Sample]] = [[] for _ in range(math.ceil(duration_s / width_s))]
    for sample in samples:
        bins[int(sample.intended_s / width_s)].append(sample)
    return bins


def _draw_rates(axes: Axes, run: Run, width_s: float) -> None:
    bins = _bins(run.samples, width_s, run.plan.duration_s)
    times = [(place + 0.5) * width_s for place in range(len(bins))]
    curves: dict[str, Any] = {
        "offered": [len(samples) for samples in bins],
        "scored": [sum(s.is_scored for s in samples) for samples in bins],
        "429": [sum(s.status == 429 for s in samples) for samples in bins],
        "503, 504": [sum(s.status in (503, 504) for s in samples) for samples in bins],
    }
    for name, values in curves.items():
        if any(values):
            axes.plot(times, [value / width_s for value in values], label=name, linewidth=1.2)
    axes.axhline(run.capacity_per_s, color="grey", linestyle=":", linewidth=1, label="capacity")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("requests/s, by arrival")
    axes.legend(fontsize=7, ncols=5)


def _draw_latencies(axes: Axes, run: Run, width_s: float) -> None:
    for count in run.plan.list_lengths.counts:
        mine = [s for s in run.samples if s.num_documents == count and s.is_scored]
        bins = _bins(mine, width_s, run.plan.duration_s)
        filled = [place for place, samples in enumerate(bins) if samples]
        times = [(place + 0.5) * width_s for place in filled]
        latencies = [[sample.latency_s for sample in bins[place]] for place in filled]
        medians = [median_low(values) for values in latencies]
        (line,) = axes.plot(times, medians, marker=".", label=f"{count} documents, p50")
        axes.plot(
            times,
            [max(values) for values in latencies],
            color=line.get_color(),
            linestyle="--",
            linewidth=0.8,
            label="max",
        )
    axes.set_yscale("log")
    axes.set_ylabel("latency from intended\narrival, s")
    axes.legend(fontsize=7, ncols=3)


def _draw_memory(axes: Axes, run: Run) -> None:
    times = [reading.at_s for reading in run.readings]
    axes.plot(times, [reading.rss_bytes / 2**20 for reading in run.readings])
    peak = max((reading.rss_bytes for reading in run.readings), default=2**20)
    axes.set_ylim(0, 1.1 * peak / 2**20)
    axes.set_xlim(0, run.plan.duration_s)
    axes.set_ylabel("server's\nRSS, MiB")
    axes.set_xlabel("seconds")


def _mark_stages(axes: Axes, run: Run) -> None:
    for place in range(1, len(run.plan.stages)):
        axes.axvline(run.plan.stage_start_s(place), color="grey", linewidth=0.5)
