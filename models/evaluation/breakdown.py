"""Breaks a measure down by the length of a list, and by where the first relevant document is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.evaluation.sets import EvaluationSet

# Last number of each group; longer lists and later positions make one more.
_GROUPS = (1, 3, 5, 10, 20, 50, 100)


@dataclass(frozen=True, slots=True)
class QueryGroup:
    """Holds the means over queries of one kind.

    Attributes:
        name: "4-5" documents, or positions of the first relevant one; "none" where there is none.
        queries: counts them.
        first_stage: the mean of the measure in the order given.
        ours: the mean of the measure as ranked.
    """

    name: str
    queries: int
    first_stage: float
    ours: float


def by_documents(
    found: EvaluationSet, first_stage: Mapping[str, float], ours: Mapping[str, float]
) -> list[QueryGroup]:
    """Break the measure down by the number of documents in a list."""
    return _grouped(found, first_stage, ours, lambda x: len(x.doc_ids))


def by_position(
    found: EvaluationSet,
    first_stage: Mapping[str, float],
    ours: Mapping[str, float],
    min_relevance: int,
) -> list[QueryGroup]:
    """Break the measure down by where the list as shown has its first relevant document, from 1."""

    def position(x: Shortlist) -> int | None:
        judged = found.qrels[x.query_id]
        relevant = (i for i, d in enumerate(x.doc_ids, 1) if judged.get(d, 0) >= min_relevance)
        return next(relevant, None)

    return _grouped(found, first_stage, ours, position)


def _grouped(
    found: EvaluationSet,
    first_stage: Mapping[str, float],
    ours: Mapping[str, float],
    number: Callable[[Shortlist], int | None],
) -> list[QueryGroup]:
    groups: dict[int, list[str]] = {}
    for x in found.lists:
        if x.query_id in found.qrels:
            groups.setdefault(_group(number(x)), []).append(x.query_id)
    return [
        QueryGroup(_name(i), len(queries), _mean(first_stage, queries), _mean(ours, queries))
        for i, queries in sorted(groups.items())
    ]


def _group(number: int | None) -> int:
    if number is None:
        return len(_GROUPS) + 1
    return sum(number > last for last in _GROUPS)


def _name(group: int) -> str:
    if group > len(_GROUPS):
        return "none"
    if group == len(_GROUPS):
        return f"over {_GROUPS[-1]}"
    first, last = (_GROUPS[group - 1] + 1 if group else 1), _GROUPS[group]
    return str(last) if first == last else f"{first}-{last}"


def _mean(values: Mapping[str, float], queries: Sequence[str]) -> float:
    return mean(values[q] for q in queries)
