"""Makes the encoder of a card of any kind."""

from blockrank_server.models.checkpoint.any_card import PackedCard
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.prompt.prompt_encoder import PromptEncoder
from blockrank_server.models.prompt.tokenizer import TextTokenizer
from blockrank_server.models.prompt.yes_no_encoder import YesNoEncoder

AnyEncoder = PromptEncoder | YesNoEncoder


def make_encoder(card: PackedCard, tokenizer: TextTokenizer, max_positions: int) -> AnyEncoder:
    """Make what encodes requests by a card; arguments and errors are those of the encoders."""
    if isinstance(card, Card):
        return PromptEncoder(card, tokenizer, max_positions)
    return YesNoEncoder(card, tokenizer, max_positions)
