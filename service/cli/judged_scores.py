"""Scores the lists that a calibration is fitted on or judged by."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from blockrank_server.service.open_ranker import OpenRanker
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.calibration.drawn_lists import JudgedList
    from blockrank_server.models.calibration.score_table import ScoreTable
    from blockrank_server.models.checkpoint.checkpoint import Checkpoint
    from blockrank_server.models.evaluation.sets import EvaluationSet

_BATCH_TOKENS = 32_000
# What group-lists writes of one set.
_PARTS = ("-topics", "-held-out")


def score_table(
    options: argparse.Namespace,
    settings: Settings,
    found: "Checkpoint",
    sets: "Sequence[EvaluationSet]",
    open_ranker: OpenRanker,
) -> "ScoreTable":
    """Draw lists and score them, or take the table of scores that is there.

    Raises:
        CalibrationError: the table is of other lists or another model.
        RankerError: the model cannot be opened, or does not take the lists.
    """
    from blockrank_server.models.calibration.score_table import (  # noqa: PLC0415
        ScoreTable,
        score_lists,
    )
    from blockrank_server.models.engine.placement import Placement  # noqa: PLC0415
    from blockrank_server.models.evaluation.fingerprint import fingerprint  # noqa: PLC0415
    from blockrank_server.models.ranker import Ranker  # noqa: PLC0415

    groups = _groups(options, sets)
    placement = Placement.choose(settings.device, settings.dtype, settings.quantization, found.card)
    made_by: dict[str, Any] = fingerprint(found, placement)
    made_by |= {"seed": options.seed, "lists": {name: len(own) for name, own in groups.items()}}
    if options.table and options.table.exists():
        return ScoreTable.read(options.table, made_by)
    ranker = open_ranker(settings.keeping_nothing())
    assert isinstance(ranker, Ranker)
    tokens = min(ranker.info.max_batch_tokens or _BATCH_TOKENS, _BATCH_TOKENS)
    with tqdm(total=sum(map(len, groups.values())), unit="list", disable=None) as bar:
        table = ScoreTable(made_by, tuple(score_lists(ranker, groups, tokens, bar.update)))
    if options.table:
        options.table.parent.mkdir(parents=True, exist_ok=True)
        table.write(options.table)
        print(f"wrote {options.table}", file=sys.stderr)
    return table


def _groups(
    options: argparse.Namespace, sets: "Sequence[EvaluationSet]"
) -> "dict[str, list[JudgedList]]":
    from blockrank_server.models.calibration.drawn_lists import (  # noqa: PLC0415
        draw_lists,
        judged_lists,
    )

    groups: dict[str, list[JudgedList]] = {}
    for found in sets:
        drawn = (
            judged_lists(found) if options.refit else draw_lists(found, options.lists, options.seed)
        )
        name = found.name
        group = next((name.removesuffix(p) for p in _PARTS if name.endswith(p)), name)
        groups.setdefault(group, []).extend(drawn)
    return groups
