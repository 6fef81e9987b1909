"""Defines the command calibrate: from lists with judgements to what their scores mean."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from blockrank_server.models.checkpoint.any_card import attention_card
from blockrank_server.models.files.output_file import write_text
from blockrank_server.models.files.paths import expand_user
from blockrank_server.service.cli.exit_codes import OK, UsageError
from blockrank_server.service.cli.invariance import add_invariance_flags, invariance_report
from blockrank_server.service.cli.judged_scores import score_table
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
    from blockrank_server.models.calibration.score_table import ScoreTable
    from blockrank_server.models.checkpoint.calibration import Calibration
    from blockrank_server.models.checkpoint.checkpoint import Checkpoint
    from blockrank_server.models.evaluation.sets import EvaluationSet

_EXAMPLES = """examples:
  blockrank-server calibrate data/train --card rerank_card.json
  blockrank-server calibrate data/train --card default --out my_card.json --table scores.jsonl
  blockrank-server calibrate my_judgements.jsonl --refit --card rerank_card.json
  blockrank-server calibrate data/eval --judge --plot reliability.png
  blockrank-server calibrate data/eval --judge --invariance 12

Draws lists of 5 to 100 documents from the sets, a third of them without what is relevant, scores
them, and writes into the card what turns a score into the chance that a document is relevant. Sets
NAME-topics and NAME-held-out count as one. With --refit the lists are taken as they are, and two
numbers are fitted anew: 50 judgements are enough. Never fit on lists you evaluate on; --judge
takes them. With --invariance, lists of 100 documents are also scored in parts, with the best away,
with others added, and shuffled. models/SCORES.md tells what it means.
exit codes: 0 ok, 1 model failure, 2 wrong usage or data"""


def run_calibration(
    options: argparse.Namespace, settings: Settings, open_ranker: OpenRanker = open_ranker
) -> int:
    """Calibrate as the options say, write the card, print a report.

    Raises:
        UsageError: options or data are at fault.
        RankerError: the model cannot be opened, or does not take the lists.
    """
    if options.invariance and not options.judge:
        raise UsageError("--invariance needs --judge")
    if options.plot and not options.judge:
        raise UsageError("--plot needs --judge")
    out = _output(options, settings)
    check_model(settings)
    # Here and not on top: help is shown without waiting for them.
    from blockrank_server.models.calibration.errors import CalibrationError  # noqa: PLC0415
    from blockrank_server.models.data.errors import DataError  # noqa: PLC0415
    from blockrank_server.models.evaluation.errors import EvaluationError  # noqa: PLC0415

    try:
        with reading():
            sets = _sets(options)
        _calibrate(options, settings, sets, out, open_ranker)
    except (EvaluationError, DataError, CalibrationError) as error:
        raise UsageError(str(error)) from error
    return OK


def _output(options: argparse.Namespace, settings: Settings) -> Path | None:
    """Return the card that is written: --out, or the file that --card names."""
    out: Path | None = options.out or _card_file(settings)
    if out is None and not options.judge:
        raise UsageError("--out is missing: where --card is no file, another one is written")
    if out is not None:
        check_output("--out", out.parent)
    for flag in ("table", "plot"):
        if file := getattr(options, flag):
            check_output(f"--{flag}", file.parent)
    return out


def _card_file(settings: Settings) -> Path | None:
    file = None if settings.card is None else expand_user(settings.card)
    return file if file is not None and file.is_file() else None


def _sets(options: argparse.Namespace) -> "list[EvaluationSet]":
    from blockrank_server.models.evaluation.sets import find_sets, read_set  # noqa: PLC0415

    return [read_set(*each) for each in find_sets(options.data, options.sets).items()]


def _calibrate(
    options: argparse.Namespace,
    settings: Settings,
    sets: "Sequence[EvaluationSet]",
    out: Path | None,
    open_ranker: OpenRanker,
) -> None:
    from blockrank_server.models.calibration.calibrate import calibrate, refit  # noqa: PLC0415
    from blockrank_server.models.calibration.errors import CalibrationError  # noqa: PLC0415
    from blockrank_server.models.calibration.report import as_markdown  # noqa: PLC0415

    found = checkpoint_of(settings).with_adapter(settings.adapter)
    before = attention_card(found.card, "calibrate").calibration
    if before is None and (options.refit or options.judge):
        raise CalibrationError(f"card {found.card.name} has no calibration yet")
    table = score_table(options, settings, found, sets, open_ranker)
    if options.judge and before:
        _judge(before, table, options.plot)
        if options.invariance:
            print(f"\n{invariance_report(options, settings, sets, open_ranker)}")
        return
    if options.refit and before:
        fitted = refit(before, table.lists)
    else:
        fitted = calibrate(table.lists, options.level_weight)
    assert out is not None
    _write_card(settings, found, out, fitted.calibration)
    print(as_markdown(fitted.calibration, fitted.rows))


def _judge(calibration: "Calibration", table: "ScoreTable", plot: Path | None) -> None:
    """Print how good a calibration is, and draw it."""
    from blockrank_server.models.calibration.calibrate import judge  # noqa: PLC0415
    from blockrank_server.models.calibration.report import (  # noqa: PLC0415
        as_markdown,
        reliability,
    )

    judged = judge(calibration, table.lists)
    print(f"{as_markdown(calibration, judged.rows)}\n\n{reliability(judged.bins['all'])}")
    if plot:
        from blockrank_server.models.evaluation.plots import plot_calibration  # noqa: PLC0415

        plot_calibration(plot, f"probabilities, {len(table.lists)} lists", judged.bins)


def _write_card(
    settings: Settings, found: "Checkpoint", out: Path, calibration: "Calibration"
) -> None:
    """Write into the card that was given, or another one like it."""
    from blockrank_server.models.calibration.card_file import write_calibration  # noqa: PLC0415

    given = _card_file(settings)
    if given is None or given.resolve() != out.resolve() or settings.adapter is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        adapter = found.adapter and os.path.relpath(found.adapter, out.parent)
        card = found.card.model_copy(update={"adapter": adapter})
        write_text(out, card.model_dump_json(indent=2, exclude_defaults=True) + "\n")
    write_calibration(out, calibration)
    print(f"wrote {out}", file=sys.stderr)


def _add_flags(parser: CommandParser) -> None:
    add_data_flags(parser)
    add = parser.add_argument
    text = "The card that is written. Default: the file of --card."
    add("--out", metavar="FILE", type=Path, help=text)
    text = "Lists drawn of each set. Default: 200."
    add("--lists", metavar="N", type=positive, default=200, help=text)
    text = (
        "How much of a list's level is added to its shares, 0 to 1. 0 tells best what is relevant "
        "by one threshold; with 1 the parts of a list are best merged. Default: 0.5."
    )
    add("--level-weight", metavar="W", type=_weight, default=0.5, help=text)
    text = "Keeps the scores, so that a second run scores nothing."
    add("--table", metavar="FILE", type=Path, help=text)
    text = "Draws probabilities against what came true, as --judge finds them: PNG or SVG."
    add("--plot", metavar="FILE", type=_picture, help=text)
    how = parser.add_mutually_exclusive_group()
    text = "Fit slope and intercept anew, on lists as they are."
    how.add_argument("--refit", action="store_true", help=text)
    text = "Judge the card's calibration, and write nothing."
    how.add_argument("--judge", action="store_true", help=text)
    add_invariance_flags(parser)
    add("--seed", type=int, default=7, help="Decides which lists are drawn. Default: 7.")
    add_settings(parser, MODEL_SETTINGS)


def _weight(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _picture(text: str) -> Path:
    if (path := Path(text)).suffix not in (".png", ".svg"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .png or .svg")
    return path


def _run(options: argparse.Namespace) -> int:
    return run_calibration(options, read_settings(options))


COMMAND = Command(
    "calibrate", "Make probabilities of a card's scores.", _EXAMPLES, _add_flags, _run
)
