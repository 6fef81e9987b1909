"""The command info: settings in force, card, and how the model runs, as JSON."""

import sys
from dataclasses import asdict
from pathlib import Path

import orjson

from blockrank_server.models.checkpoint.card import CARD_FILE, Card, built_in_cards, load_card
from blockrank_server.service.cli.options import OK
from blockrank_server.service.open_ranker import OpenRanker, open_ranker
from blockrank_server.service.settings import Settings


def print_info(
    settings: Settings, *, is_loading: bool, open_ranker: OpenRanker = open_ranker
) -> int:
    """Print one JSON object: settings, card, model.

    Args:
        settings: in force.
        is_loading: open the model; without it, card is null where the hub would have to be asked,
            and model is null.
        open_ranker: gives the ranker.

    Raises:
        RankerError: the card is not valid, or the model cannot be opened.
    """
    ranker = open_ranker(settings) if is_loading else None
    card = ranker.card if ranker else _card_at_hand(settings)
    body = {
        "settings": settings.effective(),
        "card": card.model_dump(mode="json") if card else None,
        "model": asdict(ranker.info) | {"max_score": ranker.max_score} if ranker else None,
    }
    sys.stdout.write(orjson.dumps(body, option=orjson.OPT_INDENT_2).decode() + "\n")
    return OK


def _card_at_hand(settings: Settings) -> Card | None:
    """The card, if it can be had without the weights and without the network."""
    beside = Path(settings.model).expanduser() / CARD_FILE
    path = settings.card or (beside if beside.exists() else built_in_cards().get(settings.model))
    return load_card(path) if path else None
