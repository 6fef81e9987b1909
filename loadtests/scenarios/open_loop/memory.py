"""Watches the memory and the processor time of the server over a run."""

from collections.abc import Sequence
from statistics import median

from open_loop.samples import Reading
from open_loop.statistics import Statistics

# Growth compares the last tenth of a run with its second tenth: the first one warms up.
_TENTHS = 10


def memory_statistics(readings: Sequence[Reading]) -> Statistics:
    """Return resident memory in MiB; growth only of runs with enough readings to speak of tenths.

    The readings stand in order of time.
    """
    sizes = [reading.rss_bytes / 2**20 for reading in readings]
    size = len(sizes) // _TENTHS
    growth = median(sizes[-size:]) / median(sizes[size : 2 * size]) - 1 if size else None
    return {
        "memory_start_mib": sizes[0] if sizes else None,
        "memory_peak_mib": max(sizes, default=None),
        "memory_end_mib": sizes[-1] if sizes else None,
        "memory_growth_share": growth,
    }


def cpu_statistics(readings: Sequence[Reading], num_cores: int) -> Statistics:
    """Return processor time as a share of one core, and of the whole machine of the generator."""
    if len(readings) < 2:
        return {"generator_cpu": None, "server_cpu": None, "generator_cpu_of_machine": None}
    first, last = readings[0], readings[-1]
    seconds = last.at_s - first.at_s
    generator = (last.generator_cpu_s - first.generator_cpu_s) / seconds
    return {
        "generator_cpu": generator,
        "server_cpu": (last.server_cpu_s - first.server_cpu_s) / seconds,
        "generator_cpu_of_machine": generator / num_cores,
    }
