"""Names the kinds of cards, told apart by their field kind."""

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.checkpoint.yes_no_card import YesNoCard
from blockrank_server.models.errors import CardError

AnyCard = Card | YesNoCard

# A card without the field reads attention.
KINDS: dict[str | None, type[AnyCard]] = {None: Card, "yes_no": YesNoCard}


def attention_card(card: AnyCard, purpose: str) -> Card:
    """Return a card that reads attention.

    Args:
        purpose: is what needs such a card.

    Raises:
        CardError: the card is of another kind.
    """
    if isinstance(card, Card):
        return card
    raise CardError(
        f"card {card.name} is of kind {card.kind}: {purpose} needs one that reads attention"
    )
