"""Reads a card of whichever kind: its field kind tells, and a card without one is of attention."""

import json
from pathlib import Path

from blockrank_server.models.checkpoint.card import Card, parse_card, read_card
from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard
from blockrank_server.models.checkpoint.yes_no_card import YesNoCard
from blockrank_server.models.errors import CardError

PackedCard = Card | YesNoCard
"""Reads a list by one packed prefill."""
AnyCard = PackedCard | ReasoningCard
_KINDS: dict[object, type[Card] | type[YesNoCard] | type[ReasoningCard]] = {
    "attention": Card,
    "yes_no": YesNoCard,
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


def attention_card(card: AnyCard, purpose: str) -> Card:
    """Return a card that reads attention.

    Args:
        purpose: is what needs such a card.

    Raises:
        CardError: the card is of another kind.
    """
    if isinstance(card, Card):
        return card
    raise CardError(f"card {card.name} is of kind {card.kind}: {purpose} needs one of attention")


def check_remote(card: AnyCard) -> ReasoningCard:
    """Return a card whose chains a server of completions can write.

    Raises:
        CardError: the card is of another kind.
    """
    if isinstance(card, ReasoningCard):
        return card
    raise CardError(f"card {card.name} is of kind {card.kind}: engine_url needs one of reasoning")
