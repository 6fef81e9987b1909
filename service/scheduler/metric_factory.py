"""Makes a Prometheus series: its prefix, its registry and its buckets."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector

# Half an octave per bucket: 1 ms .. 32.8 s.
SECONDS = tuple(round(0.001 * 2 ** (i / 2), 6) for i in range(31))


class MetricFactory:
    """Makes series named rerank_<name>, in a registry that belongs to one app alone."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Make a counter; its sample is rerank_<name>_total."""
        return Counter(f"rerank_{name}", text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"rerank_{name}", text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"rerank_{name}", text, labels, buckets=buckets, registry=self._registry)

    def collector(self, collector: Collector) -> None:
        """Add series that are made whenever they are scraped."""
        self._registry.register(collector)

    def seconds(self, name: str, text: str, *labels: str) -> Histogram:
        """Make a histogram of durations: rerank_<name>_duration_seconds."""
        return self.histogram(f"{name}_duration_seconds", text, SECONDS, *labels)
