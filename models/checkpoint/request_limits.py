"""Defines the part of a card that says how much a request may hold."""

from pydantic import BaseModel, Field


class RequestLimits(BaseModel, extra="forbid", frozen=True):
    """Limits what a request may hold. A request can lower the token limits, never raise them."""

    max_documents: int = Field(default=1000, gt=0, description="Documents in one request.")
    max_document_tokens: int = Field(gt=0, description="Tokens of one document with its frame.")
    max_query_tokens: int = Field(gt=0, description="Tokens of the query alone.")
    max_summary_tokens: int = Field(
        default=1024, gt=0, description="Tokens of the summary alone, where the prompt takes one."
    )
    max_instruction_tokens: int = Field(
        default=256, gt=0, description="Tokens of the instruction, likewise; too long is refused."
    )
