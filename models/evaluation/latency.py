"""Times one request against its number of documents."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.ranker import Ranker


@dataclass(frozen=True, slots=True)
class Latency:
    """Holds the time of one request at a time, tokenising included.

    Attributes:
        documents: each request has so many.
        tokens: the median over the requests.
        longest_ms: the time of the slowest request.
        requests: counts those that were timed.
    """

    documents: int
    tokens: int
    median_ms: float
    longest_ms: float
    requests: int


def time_requests(
    ranker: Ranker, lists: Sequence[Shortlist], document_counts: Sequence[int], num_requests: int
) -> list[Latency]:
    """Time the first lists that are long enough, cut to each number of documents."""
    ranker.warm_up()
    found = []
    for count in document_counts:
        requests = [x.first(count) for x in lists if len(x.doc_ids) >= count][:num_requests]
        timed = [_time(ranker, x) for x in requests]
        if timed:
            seconds = [t for t, _ in timed]
            tokens = int(median(n for _, n in timed))
            found.append(
                Latency(count, tokens, 1e3 * median(seconds), 1e3 * max(seconds), len(timed))
            )
    return found


def _time(ranker: Ranker, x: Shortlist) -> tuple[float, int]:
    """Return seconds and tokens."""
    started = time.perf_counter()
    encoded = ranker.encode(x.query, x.documents)
    ranker.score([encoded])
    return time.perf_counter() - started, encoded.num_tokens
