"""Reads and writes the scores that a card carries, which other machines are held against.

They stand beside the card, in lines of JSON: what they are of, and how far others may be off; then
a line for each list.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from blockrank_server.models.errors import CardError
from blockrank_server.models.files.output_file import write_text
from blockrank_server.models.files.text import TextError, read_text


class TitledText(BaseModel, extra="forbid", frozen=True):
    """Holds a document that has a title."""

    title: str
    text: str


class StoredList(BaseModel, extra="forbid", frozen=True):
    """Holds one list, and the raw score of every document."""

    query: str
    documents: tuple[str | TitledText, ...] = Field(min_length=1)
    scores: tuple[float, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.scores) != len(self.documents):
            raise ValueError("there is not one score for each document")
        return self


class Provenance(BaseModel, extra="forbid", frozen=True):
    """Says what scores are of.

    Attributes:
        checkpoint: digest of weights and adapter, as content_digest gives it.
        tolerance: by dtype, the largest difference that counts as the same.
        sha256: that of the lines with the lists.
    """

    checkpoint: str
    tolerance: dict[str, float]
    sha256: str


def scores_file(card: Path) -> Path:
    """Name the file beside a card."""
    return card.with_suffix(".scores.jsonl")


def read_scores(path: Path) -> tuple[Provenance, list[StoredList]]:
    """Read a file of scores, and check that it is whole.

    Raises:
        CardError: there is none, or it is not what was written.
    """
    try:
        first, _, rest = read_text(path).partition("\n")
        provenance = Provenance.model_validate_json(first)
        lists = [StoredList.model_validate_json(line) for line in rest.splitlines()]
    except OSError as error:
        raise CardError(
            f"cannot read {path}, the card's stored scores: {error.strerror}"
        ) from error
    except TextError as error:
        raise CardError(str(error)) from error
    except ValidationError as error:
        fault = error.errors()[0]
        at = ".".join(map(str, fault["loc"])) or "a line"
        raise CardError(f"{path} holds no scores: {at}: {fault['msg']}") from error
    if not lists or _sha256(rest) != provenance.sha256:
        raise CardError(f"{path} was changed: its lines have another sha256 than it says")
    return provenance, lists


def write_scores(
    path: Path, checkpoint: str, tolerance: dict[str, float], lists: Sequence[StoredList]
) -> None:
    """Write a file that read_scores reads.

    Raises:
        OSError: it cannot be written.
    """
    rest = "".join(each.model_dump_json() + "\n" for each in lists)
    first = Provenance(checkpoint=checkpoint, tolerance=tolerance, sha256=_sha256(rest))
    write_text(path, f"{first.model_dump_json()}\n{rest}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
