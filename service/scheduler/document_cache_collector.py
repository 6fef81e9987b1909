"""Shows what the document cache and its store have done, and what they hold, at every scrape."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from blockrank_server.models.document_cache.document_cache import CacheStats
from blockrank_server.models.document_cache.store_stats import StoreStats

# Help and value of each series, by its name.
_Series = Mapping[str, tuple[str, float]]


class DocumentCacheCollector(Collector):
    """Makes the series rerank_document_cache_<name> and rerank_document_store_<name>.

    Args:
        stats: tells the state of the memory.
        store_stats: tells that of the disk.
    """

    def __init__(
        self, stats: Callable[[], CacheStats], store_stats: Callable[[], StoreStats]
    ) -> None:
        self._stats, self._store_stats = stats, store_stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        counted: _Series = {
            "hits": ("Documents whose keys and values were known.", stats.hits),
            "misses": ("Documents that were not known.", stats.misses),
            "evictions": ("Known documents that gave way to others.", stats.evictions),
        }
        held: _Series = {
            "entries": ("Documents known.", stats.num_entries),
            "bytes": ("Bytes they take.", stats.used_bytes),
            "max_bytes": ("Bytes they may take.", stats.max_bytes),
        }
        yield from _families("rerank_document_cache", counted, held)
        yield from self._of_store()

    def _of_store(self) -> Iterator[Metric]:
        stats = self._store_stats()
        counted: _Series = {
            "hits": ("Documents not in memory that were on disk.", stats.hits),
            "misses": ("Documents that were in neither.", stats.misses),
            "writes": ("Documents written to disk.", stats.writes),
            "dropped": ("Documents not written, for want of time or room.", stats.dropped),
            "evictions": ("Files deleted to make room.", stats.evictions),
            "read_seconds": ("Time that requests waited for the disk.", stats.read_seconds),
        }
        held: _Series = {
            "entries": ("Documents on disk.", stats.num_entries),
            "bytes": ("Bytes of their files.", stats.used_bytes),
            "max_bytes": ("Bytes they may have.", stats.max_bytes),
        }
        yield from _families("rerank_document_store", counted, held)
        failures = CounterMetricFamily(
            "rerank_document_store_failures", "Files that could not be used.", labels=["kind"]
        )
        for kind, number in stats.failures.items():
            failures.add_metric([kind], number)
        yield failures


def _families(prefix: str, counted: _Series, held: _Series) -> Iterator[Metric]:
    for name, (text, value) in counted.items():
        yield CounterMetricFamily(f"{prefix}_{name}", text, value=value)
    for name, (text, value) in held.items():
        yield GaugeMetricFamily(f"{prefix}_{name}", text, value=value)
