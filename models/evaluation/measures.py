"""Measures each query by ir_measures. A query without a ranking counts as zero."""

from collections.abc import Mapping, Sequence
from typing import Any

import ir_measures

from blockrank_server.models.evaluation.errors import EvaluationError
from blockrank_server.models.evaluation.sets import Qrels

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "P@1", "R@10")
Values = dict[str, dict[str, float]]
"""By measure, by query."""


def parse_measures(names: Sequence[str], min_relevance: int = 1) -> dict[str, Any]:
    """Return ir_measures' measures by the names given.

    Args:
        names: stand in its spelling, such as nDCG@10 or RR(rel=2)@10.
        min_relevance: a document is relevant from this judgement on, for measures that ask for it
            and do not say it themselves.

    Raises:
        EvaluationError: no such measure.
    """
    found = {}
    for name in names:
        try:
            measure = ir_measures.parse_measure(name)
        except (NameError, ValueError, SyntaxError) as error:
            raise EvaluationError(f"no measure {name!r}: {error}") from error
        if min_relevance != 1 and "rel" in measure.SUPPORTED_PARAMS and "rel" not in measure.params:
            measure = measure(rel=min_relevance)
        found[name] = measure
    return found


def measure(
    measures: Mapping[str, Any], qrels: Qrels, rankings: Mapping[str, Sequence[str]]
) -> Values:
    """Return the value of every judged query.

    Args:
        qrels: name the queries that count.
        rankings: doc_ids by query, best first; other queries may be among them.
    """
    run = {
        query_id: {doc_id: float(-rank) for rank, doc_id in enumerate(doc_ids)}
        for query_id, doc_ids in rankings.items()
        if query_id in qrels and doc_ids
    }
    values: Values = {name: dict.fromkeys(qrels, 0.0) for name in measures}
    for name, found in measures.items():
        for one in ir_measures.iter_calc([found], qrels, run):
            values[name][one.query_id] = float(one.value)
    return values
