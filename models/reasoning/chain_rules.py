"""Resolves a card's rules on chains into token ids, and refuses a tokenizer that has none."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from blockrank_server.models.checkpoint.prompt_template import Control, Piece
from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard
from blockrank_server.models.errors import CardError
from blockrank_server.models.prompt.tokenizer import TextTokenizer

_CHAIN = "{chain}"


@dataclass(frozen=True, slots=True)
class ChainRules:
    """Says when a chain ends, and what is asked of one that ended without a verdict.

    Attributes:
        close: the ids that stand right before the word of a verdict.
        yes, no: the ids of the two words.
        end_of_text: the ids with which a model ends every text.
        max_tokens: those of a chain, its end among them.
        max_context: those of a prompt and its chain together.
    """

    tokenizer: TextTokenizer
    close: tuple[int, ...]
    yes: int
    no: int
    end_of_text: frozenset[int]
    max_tokens: int
    max_context: int
    cut_after: str
    force: tuple[Piece, ...]
    otherwise: float

    @classmethod
    def of(cls, card: ReasoningCard, tokenizer: TextTokenizer, end_of_text: Iterable[int]) -> Self:
        """Resolve a card's rules.

        Raises:
            CheckpointError: the tokenizer lacks a control token that the card names.
            CardError: a word of the verdict is not one token, or both are the same.
        """
        check_pieces(card.force.pieces, tokenizer)
        close: list[int] = []
        for piece in card.chain.close:
            if isinstance(piece, Control):
                close.append(tokenizer.control_id(piece.control))
            else:
                close += tokenizer.encode(piece.text).ids
        yes, no = (
            _one_token(card, f"verdict.{field}", word, tokenizer)
            for field, word in (("yes", card.verdict.yes), ("no", card.verdict.no))
        )
        if yes == no:
            raise CardError(f"card {card.name}: verdict.yes and verdict.no are the same token")
        return cls(
            tokenizer=tokenizer,
            close=tuple(close),
            yes=yes,
            no=no,
            end_of_text=frozenset(end_of_text),
            max_tokens=card.chain.max_tokens,
            max_context=card.chain.max_context,
            cut_after=card.force.cut_after,
            force=card.force.pieces,
            otherwise=card.force.otherwise,
        )

    @property
    def stops(self) -> tuple[str, str]:
        """Return the texts of a verdict: what a chain ends with, unless it only quotes them."""
        return self.text_of((*self.close, self.yes)), self.text_of((*self.close, self.no))

    def text_of(self, ids: Iterable[int]) -> str:
        """Return what a model wrote, with control tokens spelt out."""
        return self.tokenizer.decode(list(ids))

    def forcing_ids(self, chain: str) -> list[int]:
        """Return what is put behind a prompt to have a verdict of a chain.

        In the chain, control tokens that are spelt out become control tokens again.
        """
        ids: list[int] = []
        text = cut_to_sentence(chain, self.cut_after)
        for piece in self.force:
            if isinstance(piece, Control):
                ids.append(self.tokenizer.control_id(piece.control))
            else:
                ids += self.tokenizer.encode_written(piece.text.replace(_CHAIN, text))
        return ids


def cut_to_sentence(text: str, cut_after: str) -> str:
    """Cut a text after its last character of cut_after, unless it ends in one or holds none."""
    text = text.rstrip()
    if not text.endswith(tuple(cut_after)):
        last = max(map(text.rfind, cut_after))
        if last >= 0:
            text = text[: last + 1]
    return text.strip()


def check_pieces(pieces: Iterable[Piece], tokenizer: TextTokenizer) -> None:
    """Refuse control tokens that the tokenizer lacks.

    Raises:
        CheckpointError: naming the first of them.
    """
    for piece in pieces:
        if isinstance(piece, Control):
            tokenizer.control_id(piece.control)


def _one_token(card: ReasoningCard, field: str, word: str, tokenizer: TextTokenizer) -> int:
    ids = tokenizer.encode(word).ids
    if len(ids) != 1:
        raise CardError(
            f"card {card.name}: {field} {word!r} is {len(ids)} tokens of this checkpoint's "
            "tokenizer, 1 is needed"
        )
    return ids[0]
