"""Averages named values over the processes of a run."""

from collections.abc import Iterable, Mapping


class RunningMeans:
    """Keeps sums and counts by name."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, values: Mapping[str, float], count: int = 1) -> None:
        """Take means over count items into account."""
        for name, value in values.items():
            total, seen = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value * count, seen + count

    def take(self) -> dict[str, tuple[float, int]]:
        """Return sum and count of every name so far, and start anew."""
        taken, self._sums = self._sums, {}
        return taken


def means(parts: Iterable[Mapping[str, tuple[float, int]]]) -> dict[str, float]:
    """Return the mean of every name over what several processes took."""
    sums: dict[str, tuple[float, int]] = {}
    for part in parts:
        for name, (total, count) in part.items():
            before, seen = sums.get(name, (0.0, 0))
            sums[name] = before + total, seen + count
    return {name: total / count for name, (total, count) in sorted(sums.items())}
