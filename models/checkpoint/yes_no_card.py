"""Defines the card of a yes/no reranker: a decoder whose next token is the verdict on one document.

The prompt of a pair is prefix, then document. All documents of a request share the prefix, and no
document sees another, so that one packed prefill gives each the logits that it has alone.
"""

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from blockrank_server.models.checkpoint.prompt_template import Piece, Text, count_placeholder


class PairPrompt(BaseModel, extra="forbid", frozen=True):
    """How query and one document become one token sequence. Every piece is tokenised alone."""

    takes_summary: ClassVar[bool] = False

    prefix: tuple[Piece, ...] = Field(
        min_length=1,
        description="What stands before every document. Holds {query}; may hold {instruction}, in "
        "pieces of text that are left out where there is none.",
    )
    document: tuple[Piece, ...] = Field(
        min_length=1,
        description="A document and all behind it, up to the verdict. One piece ends with "
        "{content}; what is too long is cut off that piece, never off what follows.",
    )
    content: str = Field(
        default="{title} {text}", description="A document with a title; stripped afterwards."
    )
    content_without_title: str = Field(default="{text}", description="The same without a title.")
    instruction: str = Field(
        default="", description="{instruction} where the request gives none; empty for none."
    )

    @property
    def takes_instruction(self) -> bool:
        """Tell whether the prompt has a place for a request's instruction."""
        return count_placeholder(self.prefix, "instruction") > 0

    def prefix_for(self, instruction: str) -> tuple[Piece, ...]:
        """Return the prefix; without an instruction, without the pieces that hold it."""
        if instruction:
            return self.prefix
        return tuple(p for p in self.prefix if not count_placeholder((p,), "instruction"))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        content = [p for p in self.document if count_placeholder((p,), "content")]
        problems = {
            "prefix needs {query}, once": count_placeholder(self.prefix, "query") != 1,
            "{query} and {instruction} stand in prefix alone": any(
                count_placeholder(self.document, name) for name in ("query", "instruction")
            ),
            "document needs one piece that ends with its only {content}": (
                len(content) != 1
                or count_placeholder(self.document, "content") != 1
                or not (isinstance(content[0], Text) and content[0].text.endswith("{content}"))
            ),
            "instruction needs {instruction} in prefix": bool(
                self.instruction and not self.takes_instruction
            ),
        }
        for problem, wrong in problems.items():
            if wrong:
                raise ValueError(problem)
        return self


class Verdict(BaseModel, extra="forbid", frozen=True):
    """Names the two tokens between which the model decides, each spelled as text."""

    yes: str = Field(min_length=1, description="The next token of a relevant document: one token.")
    no: str = Field(min_length=1, description="That of any other document: one token, too.")

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.yes == self.no:
            raise ValueError("yes and no are the same word")
        return self


class PairLimits(BaseModel, extra="forbid", frozen=True):
    """Limits what a request may hold. A request can lower the token limits, never raise them."""

    max_documents: int = Field(default=1000, gt=0, description="Documents in one request.")
    max_document_tokens: int = Field(
        gt=0, description="Tokens of the piece that holds {content}, without what follows."
    )
    max_query_tokens: int = Field(gt=0, description="Tokens of the query alone.")
    max_instruction_tokens: int = Field(
        default=256, gt=0, description="Tokens of the instruction alone; a longer one is refused."
    )


class YesNoCard(BaseModel, extra="forbid", frozen=True):
    """Holds all that the engine must know about one yes/no reranker."""

    # All layers run, and then the final norm and two rows of the head.
    last_layer: ClassVar[None] = None
    # The prefix that a document sees holds the query.
    reusable_documents: ClassVar[bool] = False
    weights: ClassVar[None] = None

    card_version: Literal[1] = Field(description="Version of this format.")
    kind: Literal["yes_no"] = Field(description="What is read: the verdict on every document.")
    name: str = Field(min_length=1, max_length=200, description="Name shown to clients.")
    description: str = Field(default="", description="One sentence for people.")
    source: str = Field(default="", description="Paper, repository, licence.")
    adapter: str | None = Field(
        default=None, description="Folder of a PEFT LoRA adapter, relative to the card; merged."
    )
    prompt: PairPrompt = Field(description="Templates of prefix and document.")
    verdict: Verdict = Field(description="The two tokens whose logits are compared.")
    limits: PairLimits = Field(description="Documents and tokens of one request.")
