"""Reads a card of whichever kind: its field kind tells, and a card without one is of attention."""

import json
from pathlib import Path

from blockrank_server.models.checkpoint.card import Card, parse_card, read_card
from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard
from blockrank_server.models.errors import CardError

AnyCard = Card | ReasoningCard
_KINDS: dict[object, type[Card] | type[ReasoningCard]] = {
    "attention": Card,
    "reasoning": ReasoningCard,
}


def load_any_card(path: Path) -> AnyCard:
    """Read and validate a card.

    Raises:
        CardError: naming the file and each field at fault.
    """
    text = read_card(path)
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return parse_card(path, text, Card)  # which tells what is wrong with it
    kind = fields.get("kind", "attention") if isinstance(fields, dict) else "attention"
    if not isinstance(kind, str) or kind not in _KINDS:
        raise CardError(f"card {path}: kind is not one of {', '.join(map(str, _KINDS))}")
    return parse_card(path, text, _KINDS[kind])
