"""Defines the card of a reasoning reranker, which writes a chain of thought about each pair.

The card says everything about prompt, end and verdict (rank1: arXiv:2502.18418); what continues the
tokens only continues them. models/README.md lists every field.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from blockrank_server.models.checkpoint.card import Weights
from blockrank_server.models.checkpoint.prompt_template import Piece, count_placeholder
from blockrank_server.models.checkpoint.request_limits import RequestLimits
from blockrank_server.models.errors import CardError


class PairTemplate(BaseModel, extra="forbid", frozen=True):
    """Says how a query and one document become one prompt."""

    tokenise: Literal["whole"] = Field(
        default="whole", description="Pieces of text between control tokens are joined first."
    )
    pair: tuple[Piece, ...] = Field(
        min_length=1, description="The whole prompt. Holds {query} once and {content} once."
    )
    content: str = Field(default="{title} {text}", description="A document with a title.")
    content_without_title: str = Field(default="{text}", description="The same without a title.")
    query_templates: dict[str, str] = Field(
        default_factory=dict,
        description="By name, what stands for the query: {query}, and what relevant means here.",
    )
    query_template: str | None = Field(
        default=None, description="The one of query_templates that is used; null is the query."
    )

    @property
    def takes_instruction(self) -> bool:
        """Tell whether a request's instruction has a place: behind the query, as rank1 has it."""
        return True

    @property
    def takes_summary(self) -> bool:
        """Tell whether the prompt has a place for a request's summary: it has none."""
        return False

    def contradictions(self) -> dict[str, bool]:
        """Map each sentence on parts that do not go together to whether it applies."""
        chosen = self.query_template
        return {
            "prompt.pair needs {query} once and {content} once": any(
                count_placeholder(self.pair, name) != 1 for name in ("query", "content")
            ),
            "each of prompt.query_templates needs {query}": not all(
                "{query}" in template for template in self.query_templates.values()
            ),
            "prompt.query_template is not one of prompt.query_templates": (
                chosen is not None and chosen not in self.query_templates
            ),
        }


class ChainLimits(BaseModel, extra="forbid", frozen=True):
    """Says what ends a chain, and when it is cut."""

    close: tuple[Piece, ...] = Field(
        min_length=1, description="What stands right before the word of the verdict."
    )
    max_tokens: int = Field(gt=0, description="Tokens of a chain, its end among them.")
    max_context: int = Field(gt=1, description="Tokens of a prompt and its chain together.")


class Verdict(BaseModel, extra="forbid", frozen=True):
    """Names the two words, a token each, whose probabilities are the score."""

    yes: str = Field(min_length=1, description="The word for a relevant document.")
    no: str = Field(min_length=1, description="The word for one that is not relevant.")


class Forcing(BaseModel, extra="forbid", frozen=True):
    """Says how a verdict is had of a chain that ended without one."""

    cut_after: str = Field(
        min_length=1, description="Characters; a chain that ends in none is cut after the last."
    )
    pieces: tuple[Piece, ...] = Field(
        min_length=1, description="What follows the prompt: {chain}, and what closes it."
    )
    otherwise: float = Field(
        ge=0, le=1, description="The score where these do not fit the context."
    )


class ReasoningCard(BaseModel, extra="forbid", frozen=True):
    """Holds all that the engine must know about one reasoning reranker."""

    # A prompt is read with its query.
    reusable_documents: ClassVar[bool] = False

    card_version: Literal[1] = Field(description="Version of this format.")
    kind: Literal["reasoning"] = Field(description="Tells this card from one of attention.")
    name: str = Field(min_length=1, max_length=200, description="Name shown to clients.")
    description: str = Field(default="", description="One sentence for people.")
    source: str = Field(default="", description="Paper, repository, licence.")
    weights: Weights | None = Field(default=None, description="null: safetensors in the folder.")
    prompt: PairTemplate = Field(description="Template of query and document.")
    chain: ChainLimits = Field(description="How a chain ends.")
    verdict: Verdict = Field(description="Where the score is read.")
    force: Forcing = Field(description="What becomes of a chain without a verdict.")
    limits: RequestLimits = Field(description="Documents and tokens of one request.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        chain, verdict = self.chain, self.verdict
        problems = self.prompt.contradictions() | {
            f"chain.max_tokens {chain.max_tokens} does not leave room for a prompt in "
            f"chain.max_context {chain.max_context}": chain.max_tokens >= chain.max_context,
            "verdict.yes and verdict.no are the same word": verdict.yes == verdict.no,
            "force.pieces needs {chain} once": count_placeholder(self.force.pieces, "chain") != 1,
        }
        for problem, wrong in problems.items():
            if wrong:
                raise ValueError(problem)
        return self

    @property
    def last_layer(self) -> None:
        """Return None: every layer is needed, and norm and head above them."""

    @property
    def adapter(self) -> None:
        """Return None: a checkpoint runs as it is."""


def ends_of_text(eos_token_id: int | Iterable[int] | None) -> tuple[int, ...]:
    """Return the ids with which a model ends a text, from what its config holds; maybe none."""
    if eos_token_id is None:
        return ()
    return (eos_token_id,) if isinstance(eos_token_id, int) else tuple(map(int, eos_token_id))


def check_settings(
    *, adapter: str | Path | None, quantization: str, document_cache_bytes: int | str
) -> None:
    """Refuse what a card of reasoning has no use for: weights run as they are, nothing is kept.

    Raises:
        CardError: naming the setting.
    """
    given = {
        "adapter": adapter is not None,
        "quantization": quantization not in ("auto", "none"),
        "document_cache_bytes": document_cache_bytes not in (0, "auto"),
    }
    for name, is_given in given.items():
        if is_given:
            raise CardError(f"{name} does not apply to a card of kind reasoning")
