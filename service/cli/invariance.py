"""Measures for calibrate --judge what scores owe to the rest of their list."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

from blockrank_server.service.cli.options import positive
from blockrank_server.service.cli.parser import CommandParser
from blockrank_server.service.open_ranker import OpenRanker
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.evaluation.sets import EvaluationSet


def add_invariance_flags(parser: CommandParser) -> None:
    add = parser.add_argument
    text = (
        "Lists of each set whose scores --judge also measures in other company, of those that have "
        "100 documents. Default: none."
    )
    add("--invariance", metavar="N", type=positive, default=0, help=text)
    text = "Orders in which --invariance scores each list. Default: 10."
    add("--shuffles", metavar="N", type=positive, default=10, help=text)


def invariance_report(
    options: argparse.Namespace,
    settings: Settings,
    sets: "Sequence[EvaluationSet]",
    open_ranker: OpenRanker,
) -> str:
    """Score whole lists in other company, and write tables of what has changed.

    Documents are computed once, where the card allows it to keep them.

    Raises:
        CalibrationError: no list is long enough.
    """
    # Here and not on top: help is shown without waiting for them.
    from blockrank_server.models.calibration.invariance_report import (  # noqa: PLC0415
        invariance_markdown,
    )
    from blockrank_server.models.calibration.invariant_lists import (  # noqa: PLC0415
        draw_whole_lists,
        measure_invariance,
        rank_by,
    )
    from blockrank_server.models.ranker import Ranker  # noqa: PLC0415

    drawn = draw_whole_lists(sets, options.invariance, options.seed)
    ranker = open_ranker(settings.model_copy(update={"document_cache_bytes": "auto"}))
    assert isinstance(ranker, Ranker)
    rank, num_shuffles = rank_by(ranker), options.shuffles
    with tqdm(total=len(drawn), unit="list", disable=None) as bar:
        measured = list(measure_invariance(rank, drawn, num_shuffles, options.seed, bar.update))
    return invariance_markdown(measured, num_shuffles)
