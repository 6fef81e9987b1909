"""Evaluates a scorer on sets, set by set; a stopped evaluation goes on where it was."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from blockrank_server.models.evaluation.latency import Latency
from blockrank_server.models.evaluation.results import (
    Judging,
    Measured,
    SetResult,
    judge,
    over_sets,
)
from blockrank_server.models.evaluation.run_store import RunStore, Variant, external_run
from blockrank_server.models.evaluation.sets import EvaluationSet
from blockrank_server.models.evaluation.significance import TEST
from blockrank_server.models.evaluation.trec import Run


@dataclass(frozen=True, slots=True)
class Task:
    """Says what is evaluated.

    Attributes:
        ranking: our runs, or another system's run: a file, or a folder of NAME.run.
        document_counts: each list is cut to so many documents, and None keeps all; each gives a
            row.
        seed: shuffles the lists, to be measured beside the given order; None does not.
        compared: another system's run that ours is compared with, or None.
    """

    ranking: RunStore | Path
    document_counts: tuple[int | None, ...]
    seed: int | None
    compared: Path | None
    judging: Judging


@dataclass(frozen=True, slots=True)
class Summary:
    """Holds means over all sets at one number of documents, by measure."""

    documents: int | None
    sets: int
    measures: dict[str, Measured]


def evaluate(
    sets: Sequence[EvaluationSet], task: Task, tell: Callable[[str], None]
) -> list[SetResult]:
    """Return a result for each set and number of documents.

    Args:
        tell: takes a line about each set when it is done.

    Raises:
        RankerError: the scorer fails, or a run does not fit its set.
    """
    results = []
    for found in sets:
        made = _runs(found, task)
        for count in task.document_counts:
            variant = Variant(count, task.seed)
            other = external_run(task.compared, found, count) if task.compared else None
            result = judge(
                found.cut(count),
                count,
                made[Variant(count)],
                task.judging,
                shuffled=(variant.of(found), made[variant]) if task.seed is not None else None,
                other=other,
            )
            results.append(result)
            main = result.row.measures[task.judging.main]
            tell(
                f"{found.name}, {count or 'all'} documents: {task.judging.main} {main.ours:.3f}, "
                f"first stage {main.first_stage:.3f}"
            )
    return results


def summarise(results: Sequence[SetResult], measures: Sequence[str]) -> list[Summary]:
    """Average over sets, for each number of documents."""
    counts = dict.fromkeys(r.row.documents for r in results)
    by_count = {c: [r for r in results if r.row.documents == c] for c in counts}
    return [
        Summary(count, len(found), {name: over_sets(found, name) for name in measures})
        for count, found in by_count.items()
    ]


def as_json(
    title: str,
    made_by: dict[str, Any],
    results: Sequence[SetResult],
    judging: Judging,
    latency: Sequence[Latency],
) -> dict[str, Any]:
    """Return everything that was found, without the values of single queries."""
    return {
        "title": title,
        "ranking": made_by,
        "test": TEST,
        "min_relevance": judging.min_relevance,
        "sets": [asdict(r.row) for r in results],
        "all_sets": [asdict(s) for s in summarise(results, list(judging.measures))],
        "latency": [asdict(x) for x in latency],
    }


def _runs(found: EvaluationSet, task: Task) -> dict[Variant, Run]:
    counts = task.document_counts
    if isinstance(task.ranking, Path):
        return {Variant(count): external_run(task.ranking, found, count) for count in counts}
    orders = (None,) if task.seed is None else (None, task.seed)
    variants = [Variant(count, seed) for count in counts for seed in orders]
    missing = sum(not task.ranking.has(found, v) for v in variants)
    with tqdm(
        total=missing * len(found.lists), desc=found.name, unit="list", disable=None, leave=False
    ) as bar:
        return task.ranking.runs(found, variants, bar.update)
