"""Holds what is told of one set, and of all sets together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from blockrank_server.models.evaluation.breakdown import QueryGroup, by_documents, by_position
from blockrank_server.models.evaluation.calibration import Bin, calibration, calibration_error
from blockrank_server.models.evaluation.measures import Values, measure
from blockrank_server.models.evaluation.order_sensitivity import OrderSensitivity, order_sensitivity
from blockrank_server.models.evaluation.sets import EvaluationSet
from blockrank_server.models.evaluation.significance import Comparison, compare, compare_sets
from blockrank_server.models.evaluation.trec import Run


@dataclass(frozen=True, slots=True)
class Judging:
    """Says how rankings are judged.

    Attributes:
        measures: ir_measures' own, by name; the first is the one of breakdowns and plots.
        min_relevance: a document is relevant from this judgement on.
        max_score: the largest score a document can have, where scores are shares; None leaves
            calibration out.
    """

    measures: Mapping[str, Any]
    min_relevance: int
    max_score: float | None

    @property
    def main(self) -> str:
        return next(iter(self.measures))


@dataclass(frozen=True, slots=True)
class Measured:
    """Holds what was found by one measure.

    Attributes:
        first_stage: the mean over queries in the order given.
        ours: the mean as ranked.
        other: the mean of the run compared with, or None.
        against_first_stage: compares ours with the order given.
        against_other: compares ours with the other run, or is None.
    """

    first_stage: float
    ours: float
    other: float | None
    against_first_stage: Comparison
    against_other: Comparison | None


@dataclass(frozen=True, slots=True)
class Shuffled:
    """Holds what was found on the same lists, shuffled.

    Attributes:
        ours: the mean of the main measure.
        against_given_order: compares the shuffled lists with the lists as given.
        by_position: the main measure by position of the first relevant document in the shuffled
            list; first_stage is the shuffled order's own value.
        effect: what shuffling did to scores and ranking; None where no query was answered in
            both orders.
    """

    ours: float
    against_given_order: Comparison
    by_position: list[QueryGroup]
    effect: OrderSensitivity | None


@dataclass(frozen=True, slots=True)
class SetRow:
    """Describes one set with so many documents a list.

    Attributes:
        documents: every list is cut to so many first-stage documents; None keeps all.
        mean_documents: the mean length of the lists as cut.
        queries: counts the judged ones; those without a list or a ranking have a measure of zero.
        unanswered: counts the judged queries without a ranking.
        unjudged: counts the lists without a judgement, which are left out.
        moved: counts the judged queries that have another first result than the list as given.
        by_documents: the main measure by length of the list.
        by_position: the main measure by position of the first relevant document.
        shuffled: is None unless it was asked for.
        calibration: is None where the scores are no shares.
        calibration_error: the mean distance in these bins.
    """

    set: str
    documents: int | None
    mean_documents: float
    queries: int
    unanswered: int
    unjudged: int
    moved: int
    measures: dict[str, Measured]
    by_documents: list[QueryGroup]
    by_position: list[QueryGroup]
    shuffled: Shuffled | None
    calibration: list[Bin] | None
    calibration_error: float | None


@dataclass(frozen=True, slots=True)
class SetResult:
    """Holds a row and the values behind it, by measure and query."""

    row: SetRow
    first_stage: Values
    ours: Values
    other: Values | None


def judge(
    found: EvaluationSet,
    num_documents: int | None,
    run: Run,
    judging: Judging,
    *,
    shuffled: tuple[EvaluationSet, Run] | None = None,
    other: Run | None = None,
) -> SetResult:
    """Judge a run of a set.

    Args:
        found: the set, with its lists cut.
        num_documents: what the lists were cut to.
        shuffled: the set in another order, and the run of that order.
        other: a run to compare ours with.
    """
    first = _measure(found, {x.query_id: x.doc_ids for x in found.lists}, judging)
    ours = _measure(found, _orders(run), judging)
    theirs = _measure(found, _orders(other), judging) if other is not None else None
    name, least = judging.main, judging.min_relevance
    bins = calibration(run, found.qrels, least, judging.max_score) if judging.max_score else None
    row = SetRow(
        set=found.name,
        documents=num_documents,
        mean_documents=mean(len(x.doc_ids) for x in found.lists),
        queries=len(found.qrels),
        unanswered=sum(not run.get(query_id) for query_id in found.qrels),
        unjudged=found.num_unjudged,
        moved=_moved(found, run),
        measures={
            one: _measured(first[one], ours[one], theirs[one] if theirs else None)
            for one in judging.measures
        },
        by_documents=by_documents(found, first[name], ours[name]),
        by_position=by_position(found, first[name], ours[name], least),
        shuffled=_shuffled(*shuffled, run, ours[name], judging) if shuffled else None,
        calibration=bins,
        calibration_error=calibration_error(bins) if bins else None,
    )
    return SetResult(row, first, ours, theirs)


def over_sets(results: Sequence[SetResult], name: str) -> Measured:
    """Average a measure over several sets, of which each counts the same."""
    first = [r.first_stage[name] for r in results]
    ours = [r.ours[name] for r in results]
    others = [r.other[name] for r in results if r.other is not None]
    has_other = len(others) == len(results)
    return Measured(
        first_stage=mean(mean(values.values()) for values in first),
        ours=mean(mean(values.values()) for values in ours),
        other=mean(mean(values.values()) for values in others) if has_other else None,
        against_first_stage=compare_sets(list(zip(ours, first, strict=True))),
        against_other=compare_sets(list(zip(ours, others, strict=True))) if has_other else None,
    )


def _measure(found: EvaluationSet, orders: Mapping[str, Sequence[str]], judging: Judging) -> Values:
    return measure(judging.measures, found.qrels, orders)


def _orders(run: Run) -> dict[str, list[str]]:
    return {q: [doc_id for doc_id, _ in ranking] for q, ranking in run.items()}


def _moved(found: EvaluationSet, run: Run) -> int:
    first = {x.query_id: x.doc_ids[0] for x in found.lists if x.query_id in found.qrels}
    return sum(bool(run.get(q)) and run[q][0][0] != doc_id for q, doc_id in first.items())


def _measured(
    first: Mapping[str, float], ours: Mapping[str, float], theirs: Mapping[str, float] | None
) -> Measured:
    return Measured(
        first_stage=mean(first.values()),
        ours=mean(ours.values()),
        other=mean(theirs.values()) if theirs else None,
        against_first_stage=compare(ours, first),
        against_other=compare(ours, theirs) if theirs else None,
    )


def _shuffled(
    found: EvaluationSet, run: Run, given: Run, ours: Mapping[str, float], judging: Judging
) -> Shuffled:
    name = judging.main
    now = _measure(found, _orders(run), judging)[name]
    order = _measure(found, {x.query_id: x.doc_ids for x in found.lists}, judging)[name]
    return Shuffled(
        ours=mean(now.values()),
        against_given_order=compare(now, ours),
        by_position=by_position(found, order, now, judging.min_relevance),
        effect=order_sensitivity(given, run),
    )
