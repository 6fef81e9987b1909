"""Defines the command verify: does this machine give the scores that a card carries?"""

import argparse
from pathlib import Path

from blockrank_server.models.checkpoint.location import locate
from blockrank_server.models.checkpoint.stored_scores import scores_file
from blockrank_server.service.cli.exit_codes import UsageError
from blockrank_server.service.cli.options import (
    MODEL_SETTINGS,
    add_settings,
    check_model,
    read_settings,
)
from blockrank_server.service.cli.parser import Command, CommandParser

_EXAMPLES = """examples:
  blockrank-server verify
  blockrank-server verify --device cuda --dtype bfloat16
  blockrank-server verify --model ./checkpoint --store lists.jsonl

A card may carry a few lists with their scores, in a file beside it (CARD.scores.jsonl). They are
scored here; the largest difference is held against the file's tolerance for the dtype. --store
makes that file, of lists a line: {"query": "...", "documents": ["...", {"title", "text"}, ...]}.
exit codes: 0 reproduced, 1 not reproduced or model failure, 2 wrong flag, setting or card"""


def _add_flags(parser: CommandParser) -> None:
    parser.add_argument(
        "--store", type=Path, metavar="LISTS", help="Score these lists, and store the scores."
    )
    add_settings(parser, MODEL_SETTINGS)


def _run(options: argparse.Namespace) -> int:
    settings = read_settings(options)
    check_model(settings)
    card = locate(settings.model, card=settings.card, revision=settings.revision).card_file
    if card is None:
        raise UsageError(f"{settings.model} has no card here: name its file with --card")
    # Here and not on top: help is shown without waiting for them.
    from blockrank_server.service.cli.verify_scores import (  # noqa: PLC0415
        store_scores,
        verify_scores,
    )

    file = scores_file(card)
    if options.store is not None:
        return store_scores(options.store, file, settings)
    return verify_scores(file, settings)


COMMAND = Command("verify", "Hold scores against those of the card.", _EXAMPLES, _add_flags, _run)
