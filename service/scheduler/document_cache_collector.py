"""Shows what the document cache has done, and what it holds, whenever it is scraped."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from blockrank_server.models.document_cache.document_cache import CacheStats


class DocumentCacheCollector(Collector):
    """Makes the series rerank_document_cache_<name>.

    Args:
        stats: tells the state of now.
    """

    def __init__(self, stats: Callable[[], CacheStats]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        counted = {
            "hits": ("Documents whose keys and values were known.", stats.hits),
            "misses": ("Documents that were not known.", stats.misses),
            "evictions": ("Known documents that gave way to others.", stats.evictions),
        }
        held = {
            "entries": ("Documents known.", stats.num_entries),
            "bytes": ("Bytes they take.", stats.used_bytes),
            "max_bytes": ("Bytes they may take.", stats.max_bytes),
        }
        for name, (text, value) in counted.items():
            yield CounterMetricFamily(f"rerank_document_cache_{name}", text, value=value)
        for name, (text, value) in held.items():
            yield GaugeMetricFamily(f"rerank_document_cache_{name}", text, value=value)
