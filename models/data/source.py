"""Where a set of lists comes from."""

from typing import Self

from pydantic import BaseModel, Field, model_validator


class Source(BaseModel, extra="forbid", frozen=True):
    """One set of training lists."""

    path: str | None = Field(
        default=None,
        description="NAME of NAME.lists.jsonl.gz, NAME.passages.jsonl.gz and NAME.qrels.tsv; or a "
        "file .jsonl or .jsonl.gz of BlockRank's format; or a pattern with * for its shards.",
    )
    hub: str | None = Field(
        default=None, description="Data set on the hub (owner/name), rows of BlockRank's format."
    )
    split: str = Field(default="train", description="Of the hub's data set.")
    subset: str | None = Field(default=None, description="Of the hub's data set.")
    qrels: str | None = Field(
        default=None, description="Judgements (TSV or TREC) instead of the rows' answer_ids."
    )
    teacher: str | None = Field(
        default=None, description="Teacher's scores: a TREC run, or TSV of query, document, score."
    )
    lists_per_epoch: int | None = Field(
        default=None,
        ge=0,
        description="Lists drawn in an epoch; null is each list once, 0 none: only validation.",
    )
    validation_lists: int = Field(
        default=0, ge=0, description="Lists held out of training, in blocks of neighbours."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("a source needs path or hub, and not both")
        return self
