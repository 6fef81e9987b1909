"""Computes nDCG with gain = relevance, as ir_measures and trec_eval do.

The image of this demo holds neither ir_measures nor the package of the server.
"""

import math
from collections.abc import Mapping, Sequence


def ndcg(ranking: Sequence[str], relevance: Mapping[str, int], depth: int = 10) -> float:
    """Compute the normalised discounted cumulative gain of the first documents.

    Args:
        ranking: doc_ids, best first.
        relevance: the gain of each relevant document; all others gain 0.
        depth: only so many documents count.

    Returns:
        0 to 1; 0 if nothing is relevant.
    """
    ideal = _dcg(sorted(relevance.values(), reverse=True)[:depth])
    return _dcg([relevance.get(doc_id, 0) for doc_id in ranking[:depth]]) / ideal if ideal else 0.0


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains))
