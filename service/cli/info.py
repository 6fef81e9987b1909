"""Defines the command info: settings in force, card, and how the model runs, as JSON."""

import argparse
from dataclasses import asdict

import orjson

from blockrank_server.models.checkpoint.location import locate
from blockrank_server.service.cli.exit_codes import OK
from blockrank_server.service.cli.options import (
    MODEL_SETTINGS,
    add_settings,
    check_model,
    read_settings,
)
from blockrank_server.service.cli.parser import Command, CommandParser
from blockrank_server.service.cli.streams import write_json
from blockrank_server.service.open_ranker import OpenRanker, open_ranker
from blockrank_server.service.settings import Settings

_EXAMPLES = """examples:
  blockrank-server info
  blockrank-server info --model ./checkpoint --load

Reads the settings and, where it is at hand, the card; --load opens the model too.
exit codes: 0 ok, 1 model failure, 2 wrong flag, setting or card"""


def print_info(
    settings: Settings, *, is_loading: bool, open_ranker: OpenRanker = open_ranker
) -> int:
    """Print one JSON object: settings, card, model.

    Args:
        settings: shown as they are in force.
        is_loading: open the model; without it, card is null where the hub would have to be asked,
            and model is null.

    Raises:
        RankerError: the card is not valid, or the model cannot be opened.
    """
    ranker = open_ranker(settings) if is_loading else None
    at_hand = locate(settings.model, card=settings.card, revision=settings.revision).card
    card = ranker.card if ranker else at_hand
    body = {
        "settings": settings.effective(),
        "card": card.model_dump(mode="json") if card else None,
        "model": asdict(ranker.info) | {"max_score": ranker.max_score} if ranker else None,
    }
    write_json(orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return OK


def _add_flags(parser: CommandParser) -> None:
    add_settings(parser, MODEL_SETTINGS)
    parser.add_argument("--load", action="store_true", help="Open the model, to tell how it runs.")


def _run(options: argparse.Namespace) -> int:
    settings = read_settings(options)
    check_model(settings, is_loaded=options.load)
    return print_info(settings, is_loading=options.load)


COMMAND = Command("info", "Print settings, card and model as JSON.", _EXAMPLES, _add_flags, _run)
