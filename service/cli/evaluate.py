"""Defines the command evaluate: from lists with judgements to a report."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from blockrank_server.service.cli.exit_codes import OK, UsageError
from blockrank_server.service.cli.extras import check_installed
from blockrank_server.service.cli.options import (
    MODEL_SETTINGS,
    add_data_flags,
    add_settings,
    check_model,
    check_output,
    positive,
    read_settings,
    reading,
)
from blockrank_server.service.cli.parser import Command, CommandParser
from blockrank_server.service.open_ranker import OpenRanker, checkpoint_of, open_ranker
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.evaluation.latency import Latency
    from blockrank_server.models.evaluation.sets import EvaluationSet
    from blockrank_server.models.ranker import Ranker

_BATCH_TOKENS = 100_000

_EXAMPLES = """examples:
  blockrank-server evaluate data/eval --documents 20
  blockrank-server evaluate data/eval --card runs/mine/rerank_card.json --documents 20 100
  blockrank-server evaluate my.jsonl --compare other.run
  blockrank-server evaluate data/eval --run runs-of-bm25
  blockrank-server evaluate my.jsonl --model ./checkpoint --by decoding --limit 50

DATA is a folder of sets, FOLDER/NAME of one (NAME.lists.jsonl.gz, NAME.passages.jsonl.gz,
NAME.qrels.tsv), or a file of BlockRank's form (.jsonl, .jsonl.gz; its qrels as NAME.qrels.tsv).
OUT takes results.md, results.json and the TREC runs; started again, it goes on where it stopped.
models/EVALUATION.md tells what is measured. Needs pip install 'blockrank-server[evaluate]'.
exit codes: 0 ok, 1 model failure, 2 wrong usage or data"""


def run_evaluation(
    options: argparse.Namespace, settings: Settings, open_ranker: OpenRanker = open_ranker
) -> int:
    """Evaluate as the options say and print the report.

    Raises:
        UsageError: options or data are at fault, or the extra "evaluate" is not installed.
        RankerError: the model cannot be opened, or does not take the lists.
    """
    check_installed("evaluate")
    _check(options)
    check_output("--out", options.out)
    if options.write_run:
        check_output("--write-run", options.write_run)
    if not options.run:
        check_model(settings)
    # Here and not on top: help is shown without waiting for them.
    from blockrank_server.models.data.errors import DataError  # noqa: PLC0415
    from blockrank_server.models.engine.host_memory import keep_freed_memory  # noqa: PLC0415
    from blockrank_server.models.evaluation.errors import EvaluationError  # noqa: PLC0415

    keep_freed_memory()
    try:
        with reading():
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
    from blockrank_server.service.cli.evaluation_files import write_results  # noqa: PLC0415

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
    write_results(options.out, made_by, task.judging, results, latency, has_plots=options.plots)


def _scorer(
    options: argparse.Namespace, settings: Settings, open_ranker: OpenRanker
) -> "tuple[Any, dict[str, Any], Ranker | None]":
    """Return what scores, what decides its scores, and the ranker where there is one."""
    from blockrank_server.models.engine.placement import Placement  # noqa: PLC0415
    from blockrank_server.models.evaluation.attention_scorer import AttentionScorer  # noqa: PLC0415
    from blockrank_server.models.evaluation.decoding_scorer import DecodingScorer  # noqa: PLC0415
    from blockrank_server.models.evaluation.fingerprint import fingerprint  # noqa: PLC0415

    found = checkpoint_of(settings).with_adapter(settings.adapter)
    placement = Placement.choose(settings.device, settings.dtype, settings.quantization, found.card)
    made_by = fingerprint(found, placement)
    made_by |= {"by": options.by, "limit": options.limit}
    if options.by == "decoding":
        return DecodingScorer.open(found, placement), made_by, None
    # checkpoint_of refuses other kinds of cards.
    ranker = cast("Ranker", open_ranker(settings.keeping_nothing()))
    fits = ranker.info.max_batch_tokens or _BATCH_TOKENS
    tokens = options.batch_tokens or min(fits, _BATCH_TOKENS)
    return AttentionScorer(ranker, tokens), made_by, ranker


def _add_flags(parser: CommandParser) -> None:
    add_data_flags(parser)
    add = parser.add_argument
    text = "Documents of a list; each number is a row of the report. Default: all."
    add("--documents", metavar="N", type=positive, nargs="+", help=text)
    add("--limit", metavar="N", type=positive, help="Queries of each set. Default: all.")
    text = "What ranks: the attention that is read, or ids that are decoded. Default: attention."
    add("--by", choices=("attention", "decoding"), default="attention", help=text)
    add("--shuffle", metavar="SEED", type=int, help="Rank shuffled lists too, and compare.")
    add("--run", metavar="PATH", type=Path, help="Judge this TREC run, or folder of NAME.run.")
    add("--compare", metavar="PATH", type=Path, help="Compare with this run, or folder of them.")
    text = "Tokens of one forward pass. Default: 100000, or what fits the device."
    add("--batch-tokens", metavar="N", type=positive, help=text)
    _add_report_flags(parser)
    add_settings(parser, MODEL_SETTINGS)


def _add_report_flags(parser: CommandParser) -> None:
    add = parser.add_argument
    text = "Takes the results. Default: evaluation."
    add("--out", metavar="FOLDER", type=Path, default=Path("evaluation"), help=text)
    add("--write-run", metavar="FOLDER", type=Path, help="Takes our TREC runs. Default: OUT/runs.")
    text = "Measures of ir_measures. Default: nDCG@10 RR@10 P@1 R@10."
    add("--measures", metavar="M", nargs="+", help=text)
    text = "A document judged at least this is relevant. Default: 1."
    add("--min-relevance", metavar="N", type=positive, default=1, help=text)
    add("--plots", action="store_true", help="Write pictures into OUT.")
    text = "Time this many single requests for each number of documents."
    add("--time", metavar="N", type=positive, help=text)


def _run(options: argparse.Namespace) -> int:
    return run_evaluation(options, read_settings(options))


COMMAND = Command(
    "evaluate", "Measure how well lists with judgements are ranked.", _EXAMPLES, _add_flags, _run
)
