"""Writes where a document's score comes from, for the dialects that have room for it."""

from typing import NotRequired

from typing_extensions import TypedDict

from blockrank_server.models.prompt.document_parts import Span
from blockrank_server.models.prompt.explanation import Explanation, PartShare, WordShare
from blockrank_server.models.reasoning.request import Reasoned

# Sums of 66 shares that are rounded to so many digits are off by less than a millionth;
# those of a document's tokens by less than a hundred-thousandth.
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


class ExplainedWord(TypedDict):
    """Tells where in the document a word looked: code points start to end of the query.

    `share` is what the word gives to the result's score; those of all words sum to 1. `tokens` are
    the shares of the document's tokens in it, in the order of the explanation's `tokens`; with
    `title` and `frame` they sum to `share`. The last word has no start and end where the model is
    made to read the words of its prompt around the query, too.
    """

    start: NotRequired[int]
    end: NotRequired[int]
    share: float
    tokens: list[float]
    title: NotRequired[float]
    frame: float


class ExplainedDocument(TypedDict):
    """Tells where the score of one result comes from.

    The shares of sentences, title and frame sum to 1. `best` is the index of the sentence with the
    largest share. `frame` is what fell on the words that the prompt puts around a document. Offsets
    count code points of the text that was ranked, those of the title in the title. What stands from
    `truncated_at` on was cut off and has no share. A document has at most 64 sentences, the last of
    which then holds all the rest. `tokens`, those of the text, and `words`, those of the query, are
    there where explain is "tokens".
    """

    sentences: list[ExplainedPart]
    best: NotRequired[int]
    title: NotRequired[ExplainedPart]
    frame: float
    truncated_at: NotRequired[int]
    tokens: NotRequired[list[ExplainedPart]]
    words: NotRequired[list[ExplainedWord]]


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
    if explanation.words:
        has_title = explanation.title is not None
        found["tokens"] = list(map(_part, explanation.tokens))
        found["words"] = [_word(each, has_title=has_title) for each in explanation.words]
    return found


def _part(part: PartShare) -> ExplainedPart:
    return {"start": part.start, "end": part.end, "share": round(part.share, _DIGITS)}


def _word(word: WordShare, *, has_title: bool) -> ExplainedWord:
    found: ExplainedWord = {
        "share": round(word.share, _DIGITS),
        "tokens": [round(each, _DIGITS) for each in word.tokens],
        "frame": round(word.frame, _DIGITS),
    }
    if word.span is not None:
        found["start"], found["end"] = word.span
    if has_title:
        found["title"] = round(word.title, _DIGITS)
    return found
