"""Cuts one document that is too long."""

from dataclasses import dataclass, field
from typing import NamedTuple

from blockrank_server.models.prompt.chunk_spans import TokenEdges, chunk_spans
from blockrank_server.models.prompt.document_parts import Span
from blockrank_server.models.prompt.request import Document


class Block(NamedTuple):
    """Holds what is ranked in place of a document, or of a part of it, and where that stands."""

    owner: int
    document: Document
    span: Span


@dataclass(slots=True)
class LongDocument:
    """Holds a document that is cut.

    Attributes:
        title: what is kept of it.
        text: all of it, or as much as the chunks that are allowed can hold.
        max_text_tokens: of one chunk, besides title and frame.
        is_text_cut: whether not all of the text is in chunks.
    """

    title: str
    text: str
    tokens: TokenEdges
    max_text_tokens: int
    max_chunks: int
    is_title_cut: bool
    is_text_cut: bool
    spans: list[Span] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._cut()

    def blocks(self, owner: int) -> list[Block]:
        parts = ((self.text[start:end], (start, end)) for start, end in self.spans)
        return [
            Block(owner, {"title": self.title, "text": text} if self.title else text, span)
            for text, span in parts
        ]

    def shrink(self, num_excess: int) -> bool:
        """Cut into smaller chunks, one having so many tokens too many; say whether it helped."""
        if self.max_text_tokens == 1:
            return False
        self.max_text_tokens -= max(1, min(num_excess, self.max_text_tokens // 2))
        self._cut()
        return True

    def _cut(self) -> None:
        found = chunk_spans(self.text, self.tokens, self.max_text_tokens)
        self.spans = found[: self.max_chunks]
        self.is_text_cut |= len(found) > self.max_chunks
