"""Holds one rerank request and its result, whichever dialect they travel in."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from blockrank_server.models.prompt.document_parts import ExplainOption, Span
from blockrank_server.models.prompt.explanation import Explanation
from blockrank_server.models.prompt.request import Document
from blockrank_server.models.reasoning.request import Reasoned
from blockrank_server.models.score_scale import ScoreType

_MAX_SCORE_CHARACTERS = 18
_DOCUMENTS_PER_UNIT = 100


@dataclass(frozen=True, slots=True)
class Chunking:
    """Asks for long documents in chunks.

    Attributes:
        field: of the body, that asks.
        max_chunks_per_doc: None for as many as there are.
    """

    field: Literal["long_documents", "max_chunks_per_doc"]
    max_chunks_per_doc: int | None = None

    @property
    def is_told(self) -> bool:
        """Say whether results name chunks: not those of clients that expect Cohere's keys."""
        return self.field == "long_documents"


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """Describes what a caller asks for.

    Attributes:
        query: not checked yet.
        documents: strings or {title, text}, in the caller's order.
        top_n: results to return; None for all.
        return_documents: whether results carry their text.
        raw_scores: the model's own scores instead of scores in [0, 1].
        score_type: what scores are to be; None leaves it to the model and to raw_scores.
        min_score: results below it are left out; None keeps all.
        truncate: cut what is too long; otherwise it is an error.
        max_document_tokens: lowers the card's limit; None leaves it.
        max_query_tokens: lowers the card's limit; None leaves it.
        chunking: None cuts off the end of long documents.
        model: the name the caller gave, if any.
        summary: not checked yet; empty where none was given.
        instruction: likewise.
        instruction_fields: of the body, that gave one.
        cache_salt: documents are found again only with the salt they were kept with.
        fallback: what to answer where ranking fails; None for an error.
        explain: whether results tell where their scores come from, and how finely.
        stream: whether chains of reasoning are sent while they are written.
        ignored_fields: fields of the body that have no meaning here.
        warnings: sentences on fields that have a meaning elsewhere and none here.
    """

    query: str
    documents: tuple[Document, ...]
    top_n: int | None = None
    return_documents: bool = False
    raw_scores: bool = False
    score_type: ScoreType | None = None
    min_score: float | None = None
    truncate: bool = True
    max_document_tokens: int | None = None
    max_query_tokens: int | None = None
    chunking: Chunking | None = None
    model: str | None = None
    summary: str = ""
    instruction: str = ""
    instruction_fields: tuple[str, ...] = ()
    cache_salt: str = field(default="", repr=False)
    fallback: Literal["input_order"] | None = None
    explain: ExplainOption = False
    stream: bool = False
    ignored_fields: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def num_characters(self) -> int:
        """Count the characters of query, summary, instruction, titles and texts."""
        return (
            len(self.query)
            + len(self.summary)
            + len(self.instruction)
            + sum(
                len(document) if isinstance(document, str) else sum(map(len, document.values()))
                for document in self.documents
            )
        )


@dataclass(slots=True)
class Ranked:
    """Holds one result: the document's index and its score as JSON text."""

    index: int
    score: str


@dataclass(frozen=True, slots=True)
class Cached:
    """Counts documents whose keys and values were known, and their tokens: not computed again."""

    num_documents: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class RerankResult:
    """Describes what a caller gets.

    Attributes:
        request_id: the id of the HTTP request, which some dialects send back.
        ranking: best first, cut to top_n and min_score.
        model: the name of the card.
        score_type: what its scores are; none where nothing was ranked.
        any_relevant: whether the list holds something relevant, by the card; None if it cannot say.
        num_tokens: tokens of the whole prompt.
        cached: what was known of the documents; None where none are kept.
        warnings: sentences on what was cut or ignored.
        explanations: by index, where they are asked for; blank documents have none.
        reasoned: chains of reasoning, likewise.
        num_generated_tokens: those of the chains, whether they are asked for or not.
        chunks: by index, where the best chunk of a document starts and stops in its text, where
            results tell it; blank documents have none.
        num_more_chunks: counts chunks, without the first of each document.
    """

    request: RerankRequest
    request_id: str
    ranking: tuple[Ranked, ...]
    model: str
    score_type: ScoreType | Literal["none"] = "share"
    any_relevant: bool | None = None
    num_tokens: int = 0
    cached: Cached | None = None
    warnings: tuple[str, ...] = ()
    explanations: Mapping[int, Explanation] = field(default_factory=dict)
    reasoned: Mapping[int, Reasoned] = field(default_factory=dict)
    num_generated_tokens: int = 0
    chunks: Mapping[int, Span] = field(default_factory=dict)
    num_more_chunks: int = 0

    @property
    def num_documents(self) -> int:
        """Count all documents, blank ones and those past top_n too, and every chunk as one."""
        return len(self.request.documents) + self.num_more_chunks

    @property
    def num_units(self) -> int:
        """Count what Cohere and Pinecone would bill: one unit for each hundred documents begun."""
        return math.ceil(self.num_documents / _DOCUMENTS_PER_UNIT)

    def text(self, index: int) -> str:
        """Return what was ranked for a document, without its title."""
        return text_of(self.request.documents[index])

    def by_index(self) -> list[Ranked]:
        """Return the results in the order of the request."""
        return sorted(self.ranking, key=lambda ranked: ranked.index)


def text_of(document: Document) -> str:
    """Return the text of a document, without its title."""
    return document if isinstance(document, str) else document["text"]


def is_blank(document: Document) -> bool:
    """Say whether a document holds nothing to rank: no text, and no title either."""
    if isinstance(document, str):
        return not document.strip()
    return not any(part.strip() for part in document.values())


def rank(
    scores: Sequence[float],
    *,
    order: Sequence[float] | None = None,
    top_n: int | None = None,
    min_score: float | None = None,
) -> list[Ranked]:
    """Return the results, best first; equal ones keep the input order.

    Args:
        scores: what is shown, in input order.
        order: what decides instead, such as logits, which differ where probabilities round to 1.
        top_n: results to keep; None for all.
        min_score: results with less are left out; None keeps all.
    """
    texts = list(map(score_text, scores))
    # By what is shown: scores that differ only past the last digit shown are ties to the caller.
    shown = list(map(float, texts))
    keys = shown if order is None else order
    best_first = sorted(range(len(shown)), key=keys.__getitem__, reverse=True)  # stable, too
    if min_score is not None:
        best_first = [i for i in best_first if shown[i] >= min_score]
    best_first = best_first[:top_n]
    return list(map(Ranked, best_first, map(texts.__getitem__, best_first)))


def score_text(score: float) -> str:
    """Write a score as a JSON number: a decimal point, no exponent, at most 18 characters.

    OpenSearch casts what it parses to Double, and its parser yields an Integer for 1 and a
    BigDecimal past 18 characters.
    """
    if 1e-4 <= abs(score) < 1e7:  # where %g writes no exponent, whatever it rounds to
        text = f"{score:.8g}"
        return text if "." in text else f"{text}.0"
    text = f"{score:.16f}"[:_MAX_SCORE_CHARACTERS].rstrip("0")
    return f"{text}0" if text.endswith(".") else text
