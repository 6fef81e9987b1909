"""The command evaluate: from lists with judgements to a report."""

import argparse
import json
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockrank_server.service.cli.options import OK, UsageError
from blockrank_server.service.open_ranker import OpenRanker, checkpoint_of, open_ranker
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.evaluation.evaluation import Task
    from blockrank_server.models.evaluation.latency import Latency
    from blockrank_server.models.evaluation.results import SetResult
    from blockrank_server.models.evaluation.sets import EvaluationSet
    from blockrank_server.models.ranker import Ranker

# Distributions of the extra "evaluate", by the module each brings.
_NEEDED = {"ir_measures": "ir-measures", "matplotlib": "matplotlib", "scipy": "scipy"}
_BATCH_TOKENS = 100_000


def run_evaluation(
    options: argparse.Namespace, settings: Settings, open_ranker: OpenRanker = open_ranker
) -> int:
    """Evaluate as the options say and print the report.

    Raises:
        UsageError: options or data are at fault, or the extra "evaluate" is not installed.
        RankerError: the model cannot be opened, or does not take the lists.
    """
    if missing := [name for module, name in _NEEDED.items() if find_spec(module) is None]:
        raise UsageError(f"{', '.join(missing)} missing: pip install 'blockrank-server[evaluate]'")
    _check(options)
    # Here and not on top: help is shown without waiting for them.
    from blockrank_server.models.data.errors import DataError  # noqa: PLC0415
    from blockrank_server.models.engine.host_memory import keep_freed_memory  # noqa: PLC0415
    from blockrank_server.models.evaluation.errors import EvaluationError  # noqa: PLC0415

    keep_freed_memory()
    try:
        sets = _sets(options)
        _evaluate(options, settings, sets, open_ranker)
    except (EvaluationError, DataError) as error:
        raise UsageError(str(error)) from error
    return OK


def _check(options: argparse.Namespace) -> None:
    """Refuse options that contradict each other."""
    needs_model = {
        "--shuffle": options.shuffle is not None,
        "--time": options.time is not None,
        "--write-run": options.write_run is not None,
        "--by decoding": options.by == "decoding",
    }
    if options.run and (wrong := [name for name, given in needs_model.items() if given]):
        raise UsageError(f"{wrong[0]} needs a model, --run judges the run of another system")
    if options.time and options.by == "decoding":
        raise UsageError("--time times attention reading; leave out --by decoding")
    if options.time and not options.documents:
        raise UsageError("--time needs --documents")


def _sets(options: argparse.Namespace) -> "list[EvaluationSet]":
    from blockrank_server.models.evaluation.sets import find_sets, read_set  # noqa: PLC0415

    found = [read_set(name, path) for name, path in find_sets(options.data, options.sets).items()]
    return [one.limited(options.limit) if options.limit else one for one in found]


def _evaluate(
    options: argparse.Namespace,
    settings: Settings,
    sets: "list[EvaluationSet]",
    open_ranker: OpenRanker,
) -> None:
    from blockrank_server.models.evaluation.evaluation import Task, evaluate  # noqa: PLC0415
    from blockrank_server.models.evaluation.latency import time_requests  # noqa: PLC0415
    from blockrank_server.models.evaluation.measures import (  # noqa: PLC0415
        DEFAULT_MEASURES,
        parse_measures,
    )
    from blockrank_server.models.evaluation.results import Judging  # noqa: PLC0415
    from blockrank_server.models.evaluation.run_store import RunStore  # noqa: PLC0415

    measures = parse_measures(options.measures or DEFAULT_MEASURES, options.min_relevance)
    ranking: Path | RunStore
    made_by: dict[str, Any]
    ranker, max_score = None, None
    if options.run:
        ranking, made_by = options.run, {"run": str(options.run)}
    else:
        scorer, made_by, ranker = _scorer(options, settings, open_ranker)
        max_score = ranker.max_score if ranker else None
        ranking = RunStore(options.write_run or options.out / "runs", made_by, scorer)
    judging = Judging(measures, options.min_relevance, max_score)
    counts = tuple(sorted(set(options.documents))) if options.documents else (None,)
    task = Task(ranking, counts, options.shuffle, options.compare, judging)
    results = evaluate(sets, task, lambda line: print(line, file=sys.stderr))
    latency: list[Latency] = []
    if ranker and options.time:
        lists = [x for one in sets for x in one.lists]
        latency = time_requests(ranker, lists, options.documents, options.time)
    _write(options, made_by, task, results, latency)


def _scorer(
    options: argparse.Namespace, settings: Settings, open_ranker: OpenRanker
) -> "tuple[Any, dict[str, Any], Ranker | None]":
    """What scores, what decides its scores, and the ranker where there is one."""
    from blockrank_server.models.engine.placement import Placement  # noqa: PLC0415
    from blockrank_server.models.evaluation.attention_scorer import AttentionScorer  # noqa: PLC0415
    from blockrank_server.models.evaluation.decoding_scorer import DecodingScorer  # noqa: PLC0415
    from blockrank_server.models.evaluation.fingerprint import fingerprint  # noqa: PLC0415

    placement = Placement.choose(settings.device, settings.dtype, settings.quantization)
    found = checkpoint_of(settings).with_adapter(settings.adapter)
    made_by = fingerprint(found, placement)
    made_by |= {"by": options.by, "limit": options.limit}
    if options.by == "decoding":
        return DecodingScorer.open(found, placement), made_by, None
    ranker = open_ranker(settings)
    fits = ranker.info.max_batch_tokens or _BATCH_TOKENS
    tokens = options.batch_tokens or min(fits, _BATCH_TOKENS)
    return AttentionScorer(ranker, tokens), made_by, ranker


def _write(
    options: argparse.Namespace,
    made_by: dict[str, Any],
    task: "Task",
    results: "list[SetResult]",
    latency: "list[Latency]",
) -> None:
    from blockrank_server.models.evaluation.evaluation import as_json  # noqa: PLC0415
    from blockrank_server.models.evaluation.plots import plot  # noqa: PLC0415
    from blockrank_server.models.evaluation.report import as_markdown  # noqa: PLC0415

    title = _title(made_by)
    options.out.mkdir(parents=True, exist_ok=True)
    report = as_markdown(title, results, task.judging, latency)
    (options.out / "results.md").write_text(report, encoding="utf-8")
    content = as_json(title, made_by, results, task.judging, latency)
    text = json.dumps(content, indent=1) + "\n"
    (options.out / "results.json").write_text(text, encoding="utf-8")
    print(report)
    if options.plots:
        rows = [r.row for r in results]
        for path in plot(options.out, title, task.judging.main, rows, latency):
            print(path, file=sys.stderr)


def _title(made_by: dict[str, Any]) -> str:
    made_on = f"torch {version('torch')}, {datetime.now(UTC).date().isoformat()}"
    if "run" in made_by:
        return f"The run {made_by['run']}, {made_on}"
    bits = [made_by["dtype"], made_by["quantization"]]
    numbers = " ".join(b for b in bits if b != "none")
    return f"{made_by['name']} by {made_by['by']}, {numbers} on {made_by['device']}, {made_on}"
