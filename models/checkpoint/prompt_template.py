"""Defines the part of a card that says how query and documents become one prompt."""

from collections.abc import Container
from typing import Literal

from pydantic import BaseModel, Field


class Control(BaseModel, extra="forbid", frozen=True):
    """One control token of the tokenizer. Only a card can place one, never a caller's text."""

    control: str = Field(min_length=1, description="The token as the tokenizer spells it: <s>.")


class Text(BaseModel, extra="forbid", frozen=True):
    """Text, tokenised with control tokens off, with {query}, {content} and the like filled in."""

    text: str = Field(min_length=1, description="Literal text with placeholders.")


Piece = Control | Text


class PromptTemplate(BaseModel, extra="forbid", frozen=True):
    """How query and documents become one token sequence: prefix, documents in order, tail."""

    tokenise: Literal["blocks", "whole"] = Field(
        description="blocks: every piece of every block is tokenised alone. whole: pieces between "
        "two control tokens are joined first, so a token may span a block's border."
    )
    prefix: tuple[Piece, ...] = Field(
        description="Before the documents. May hold {query}; and {summary}, in pieces of text that "
        "are left out of a request without one."
    )
    document: tuple[Piece, ...] = Field(
        min_length=1, description="Each document. Holds {content}; may hold {number}."
    )
    tail: tuple[Piece, ...] = Field(
        min_length=1,
        description="After the documents. Holds {query}; may hold {instruction}, in pieces of text "
        "that are left out of a request without one.",
    )
    content: str = Field(
        default="{title} {text}", description="A document with a title; stripped afterwards."
    )
    content_without_title: str = Field(default="{text}", description="The same without a title.")
    first_number: int = Field(default=0, ge=0, description="{number} of the first document.")
    scored_tokens: Literal["block", "content"] = Field(
        default="block",
        description="Tokens whose attention counts for a document: its whole block, or those that "
        "overlap its content and the space before it.",
    )

    def uses(self, part: Literal["prefix", "document", "tail"], placeholder: str) -> bool:
        """Tell whether a part of the prompt holds the placeholder, given without braces."""
        return count_placeholder(getattr(self, part), placeholder) > 0

    @property
    def takes_summary(self) -> bool:
        """Tell whether the prompt has a place for a request's summary."""
        return self.uses("prefix", "summary")

    @property
    def takes_instruction(self) -> bool:
        """Tell whether the prompt has a place for a request's instruction."""
        return self.uses("tail", "instruction")

    def prefix_for(self, values: Container[str]) -> tuple[Piece, ...]:
        """Return the prefix; where values lack a summary, without the pieces that hold it."""
        return _without(self.prefix, "summary", values)

    def tail_for(self, values: Container[str]) -> tuple[Piece, ...]:
        """Return the tail; where values lack an instruction, without the pieces that hold it."""
        return _without(self.tail, "instruction", values)

    def contradictions(self) -> dict[str, bool]:
        """Map each sentence on parts that do not go together to whether it applies."""
        return {
            "prompt.document needs {content}": not self.uses("document", "content"),
            "prompt.tail needs {query}": not self.uses("tail", "query"),
            "{summary} stands in prompt.prefix alone": (
                self.uses("document", "summary") or self.uses("tail", "summary")
            ),
            "{instruction} stands in prompt.tail alone: a document would be another one with each "
            "instruction that stands before it or in it": (
                self.uses("prefix", "instruction") or self.uses("document", "instruction")
            ),
            "a piece of prompt.tail that holds {instruction} holds no {query}: it is left out of a "
            "request without an instruction": any(
                count_placeholder((piece,), "instruction") and count_placeholder((piece,), "query")
                for piece in self.tail
            ),
            "prompt.tokenise whole needs one text piece with one {content} as prompt.document": (
                self.tokenise == "whole"
                and (len(self.document) != 1 or count_placeholder(self.document, "content") != 1)
            ),
            "prompt.scored_tokens content needs prompt.tokenise whole": (
                self.scored_tokens == "content" and self.tokenise != "whole"
            ),
        }


def _without(
    pieces: tuple[Piece, ...], placeholder: str, values: Container[str]
) -> tuple[Piece, ...]:
    if placeholder in values:
        return pieces
    return tuple(piece for piece in pieces if not count_placeholder((piece,), placeholder))


def count_placeholder(pieces: tuple[Piece, ...], placeholder: str) -> int:
    """Count a placeholder, given without braces, in the text of pieces."""
    return sum(p.text.count(f"{{{placeholder}}}") for p in pieces if isinstance(p, Text))
