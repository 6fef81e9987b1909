"""Defines the part of a run's config that says where lists come from and what is drawn of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from blockrank_server.models.data.source import Source


@dataclass(frozen=True, slots=True)
class Draw:
    """Says how the documents of a list are drawn.

    Attributes:
        least: the fewest documents of a list.
        most: the most.
        max_positives: limits the relevant ones; None keeps all that fit.
        negatives_from_first: negatives are drawn from so many of the list's first; None: from all.
        min_relevance: a document counts as relevant from this judgement on.
        unanswerable: the share of the lists that lose their relevant documents.
    """

    least: int
    most: int
    max_positives: int | None = None
    negatives_from_first: int | None = None
    min_relevance: int = 1
    unanswerable: float = 0.0


class Data(BaseModel, extra="forbid", frozen=True):
    """Says where lists come from and what is taken of each."""

    root: Path = Field(default=Path(), description="Folder that relative paths start from.")
    sources: tuple[Source, ...] = Field(min_length=1, description="Sets to train on together.")
    documents: Annotated[int, Field(ge=2)] | tuple[int, int] = Field(
        default=16,
        description="Documents of a list; [least, most] draws a number for each list anew.",
    )
    lists_together: int = Field(
        default=1,
        gt=0,
        description="Neighbours in a file that are drawn together. What they share is computed "
        "once, if they are in one forward pass and documents do not see the query.",
    )
    max_positives: int | None = Field(
        default=None,
        gt=0,
        description="At most this many relevant documents of a list are kept; null keeps all that"
        " fit.",
    )
    negatives_from_first: int | None = Field(
        default=None,
        gt=0,
        description="Negatives are drawn from the list's first ones, this many; null draws from "
        "all.",
    )
    min_relevance: int = Field(
        default=1, gt=0, description="A document counts as relevant from this judgement on."
    )
    unanswerable: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the lists that lose their relevant documents, so that nothing in them"
        " answers; needs loss.anchor.",
    )
    typed_queries: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the lists whose query is put in lower case without punctuation at "
        "its end, as people type.",
    )
    tail_strides: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None,
        min_length=1,
        description="The card's tail_stride is drawn from these for each forward pass; null keeps "
        "the card's.",
    )
    max_document_tokens: int | None = Field(
        default=None,
        gt=0,
        description="Documents are cut to so many tokens, if the card does not cut them to fewer.",
    )
    max_query_tokens: int | None = Field(
        default=None,
        gt=0,
        description="Queries are cut to so many tokens, if the card does not cut them to fewer.",
    )

    def draw_of(self, source: Source) -> "Draw":
        """Say how the documents of one of its lists are drawn."""
        documents = source.documents or self.documents
        least, most = (documents,) * 2 if isinstance(documents, int) else documents
        return Draw(
            least,
            most,
            self.max_positives,
            source.negatives_from_first or self.negatives_from_first,
            self.min_relevance,
            self.unanswerable,
        )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for source in self.sources:
            draw = self.draw_of(source)
            if not 2 <= draw.least <= draw.most:
                raise ValueError("documents needs 2 <= least <= most")
        return self

    @model_validator(mode="after")
    def _whole_neighbours(self) -> Self:
        for source in self.sources:
            if self.lists_together > 1 and source.validation_lists and source.lists_per_epoch != 0:
                raise ValueError(
                    "lists_together needs validation lists in sources of their own, with "
                    f"lists_per_epoch 0: {source.path or source.hub} trains and validates"
                )
        if all(source.lists_per_epoch == 0 for source in self.sources):
            raise ValueError("sources: lists_per_epoch is 0 for each, nothing to train on")
        return self
