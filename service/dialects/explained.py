"""Writes where a document's score comes from, for the dialects that have room for it."""

from typing import NotRequired

from typing_extensions import TypedDict

from blockrank_server.models.prompt.document_parts import Span
from blockrank_server.models.prompt.explanation import Explanation, PartShare
from blockrank_server.models.reasoning.request import Reasoned

# Sums of 66 shares that are rounded to so many digits are off by less than a millionth.
_DIGITS = 8


class BestChunk(TypedDict):
    """Tells which chunk of a document has its score: code points of the text that was ranked."""

    start: int
    end: int


class ExplainedPart(TypedDict):
    """Holds one part: code points start to end, and its share of the result's score."""

    start: int
    end: int
    share: float


class ExplainedDocument(TypedDict):
    """Tells where the score of one result comes from.

    The shares of sentences, title and frame sum to 1. `best` is the index of the sentence with the
    largest share. `frame` is what fell on the words that the prompt puts around a document. Offsets
    count code points of the text that was ranked, those of the title in the title. What stands from
    `truncated_at` on was cut off and has no share. A document has at most 64 sentences, the last of
    which then holds all the rest.
    """

    sentences: list[ExplainedPart]
    best: NotRequired[int]
    title: NotRequired[ExplainedPart]
    frame: float
    truncated_at: NotRequired[int]


class ReasonedDocument(TypedDict):
    """Holds the chain of reasoning before the score of one result.

    `ended` tells what ended it: verdict, end_of_text, max_tokens, max_context or deadline. `read`
    tells where the score was read: verdict; forced, after the chain was closed for it; or fallback,
    which is a fixed number. `tokens` counts those generated. The text may quote the document.
    """

    text: str
    ended: str
    read: str
    tokens: int


def best_chunk(span: Span) -> BestChunk:
    """Write where a document's best chunk stands."""
    return {"start": span[0], "end": span[1]}


def reasoned(found: Reasoned) -> ReasonedDocument:
    """Write a chain of reasoning."""
    return {
        "text": found.text,
        "ended": found.end,
        "read": found.reading,
        "tokens": found.num_tokens,
    }


def explained(explanation: Explanation) -> ExplainedDocument:
    """Write an explanation; what there is not is left out."""
    found: ExplainedDocument = {
        "sentences": list(map(_part, explanation.sentences)),
        "frame": round(explanation.frame, _DIGITS),
    }
    if explanation.best is not None:
        found["best"] = explanation.best
    if explanation.title is not None:
        found["title"] = _part(explanation.title)
    if explanation.truncated_at is not None:
        found["truncated_at"] = explanation.truncated_at
    return found


def _part(part: PartShare) -> ExplainedPart:
    return {"start": part.start, "end": part.end, "share": round(part.share, _DIGITS)}
