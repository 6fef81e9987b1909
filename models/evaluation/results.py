"""What is told of one set, and of all sets together."""

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
    """How rankings are judged.

    Attributes:
        measures: ir_measures' by name; the first is the one of breakdowns and plots.
        min_relevance: from which judgement on a document is relevant.
        max_score: of a document, where scores are to be calibrated; None leaves that out.
    """

    measures: Mapping[str, Any]
    min_relevance: int
    max_score: float | None

    @property
    def main(self) -> str:
        """Name of the first measure."""
        return next(iter(self.measures))


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure.

    Attributes:
        first_stage: mean over queries in the order given.
        ours: mean as ranked.
        other: mean of the run compared with, or None.
        against_first_stage: ours against the order given.
        against_other: ours against the run compared with, or None.
    """

    first_stage: float
    ours: float
    other: float | None
    against_first_stage: Comparison
    against_other: Comparison | None


@dataclass(frozen=True, slots=True)
class Shuffled:
    """The same lists, shuffled.

    Attributes:
        ours: mean of the main measure.
        against_given_order: shuffled against as given.
        by_position: of the first relevant document in the shuffled list; first_stage is the
            shuffled order's own value.
        effect: on scores and ranking; None where no query was answered in both orders.
    """

    ours: float
    against_given_order: Comparison
    by_position: list[QueryGroup]
    effect: OrderSensitivity | None


@dataclass(frozen=True, slots=True)
class SetRow:
    """One set with so many documents a list.

    Attributes:
        set: its name.
        documents: first-stage documents a list is cut to; None is all.
        mean_documents: of the lists as cut.
        queries: judged ones; those without a list or a ranking count as zero.
        unanswered: judged queries without a ranking.
        unjudged: lists without a judgement, left out.
        measures: by name.
        by_documents: main measure by length of the list.
        by_position: main measure by position of the first relevant document.
        shuffled: None unless asked for.
        calibration: of the scores; None where they are no shares.
        calibration_error: of these bins.
    """

    set: str
    documents: int | None
    mean_documents: float
    queries: int
    unanswered: int
    unjudged: int
    measures: dict[str, Measured]
    by_documents: list[QueryGroup]
    by_position: list[QueryGroup]
    shuffled: Shuffled | None
    calibration: list[Bin] | None
    calibration_error: float | None


@dataclass(frozen=True, slots=True)
class SetResult:
    """A row and the values behind it, by measure and query."""

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
        found: the set, its lists cut.
        num_documents: what they were cut to.
        run: of its lists.
        judging: how.
        shuffled: the set in another order, and the run of that.
        other: a run to compare with.
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
    """A measure over several sets, of which each counts the same."""
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
