"""Defines what a caller gives and what the engine takes: text, and token ids made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blockrank_server.models.document_cache.document_cache import Lease
from blockrank_server.models.errors import EmptyInputError, InputError, InputTooLongError
from blockrank_server.models.prompt.document_parts import DocumentParts, check_num_shares
from blockrank_server.models.prompt.query_words import QueryWords
from blockrank_server.models.prompt.template import Filled
from blockrank_server.models.prompt.tokenizer import TokenIds

Document = str | Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedRequest:
    """Holds one request on its own token axis: prefix | document 0 | document 1 | ... | tail.

    Attributes:
        token_ids: [T] int32; -1 in documents that were known, whose tokens nobody needs.
        position_ids: [T] int32 rotary positions.
        num_prefix_tokens: counts the tokens before the first document's block.
        tail_start: index of the tail's first token.
        block_spans: [N, 2] int32, where each document's block starts and stops.
        scored_spans: [N, 2] int32, the tokens of each document that are scored; inside its block.
        signal_span: first signal token, and the one after the last.
        truncated_documents: input indices of the documents that were cut.
        query_truncated: whether the query was cut.
        summary_truncated: whether the summary was cut.
        lease: holds the documents that were known when the request was read; None where none are
            kept.
        parts: those of each document whose shares of its score are asked for; empty if they are
            not.
        words: those of the query, where the shares of parts are asked for by word; else None.
    """

    token_ids: TokenIds
    position_ids: NDArray[np.int32]
    num_prefix_tokens: int
    tail_start: int
    block_spans: NDArray[np.int32]
    scored_spans: NDArray[np.int32]
    signal_span: tuple[int, int]
    truncated_documents: tuple[int, ...] = ()
    query_truncated: bool = False
    summary_truncated: bool = False
    lease: Lease | None = None
    parts: tuple[DocumentParts, ...] = ()
    words: QueryWords | None = None

    @property
    def num_tokens(self) -> int:
        """Count the tokens of the whole prompt."""
        return len(self.token_ids)

    @property
    def num_computed_tokens(self) -> int:
        """Count the tokens whose keys and values are not known."""
        return self.num_tokens - self.num_known_tokens

    @property
    def num_optional_tokens(self) -> int:
        """Count what of num_computed_tokens can be left out where the deadline is near: nothing."""
        return 0

    @property
    def num_known_tokens(self) -> int:
        """Count the tokens whose keys and values are known."""
        return self.lease.num_known_tokens if self.lease else 0

    @property
    def num_known_documents(self) -> int:
        """Count the documents whose keys and values are known."""
        return self.lease.num_known_documents if self.lease else 0

    @property
    def num_documents(self) -> int:
        """Count the documents of the shortlist."""
        return len(self.scored_spans)

    @property
    def num_word_groups(self) -> int:
        """Count the groups of signal tokens whose shares are told apart."""
        return 1 if self.words is None else self.words.num_groups

    @property
    def num_part_shares(self) -> int:
        """Count the shares that are asked for: of each part, or of each for each word."""
        return self.num_word_groups * sum(len(each.spans) for each in self.parts)


def with_parts(
    encoded: EncodedRequest,
    documents: Sequence[tuple[str, str]],
    contents: Sequence[Filled],
    characters: Sequence[NDArray[np.int32]],
    words: QueryWords | None,
) -> EncodedRequest:
    """Add the parts of the documents: sentences, or, with words of the query, tokens.

    Args:
        documents: pairs of title and text.
        contents: what was made of them, not cut.
        characters: of each document, what its scored tokens stand for, as DocumentParts.of has it.
            It comes of tokenising once more: offsets that were kept with documents would take
            memory and disk for all of them, and few answers are explained.
        words: those of the query, where shares are asked for by word.

    Raises:
        InputTooLongError: more shares are asked for than an answer may hold.
    """
    num_tokens = np.diff(encoded.scored_spans)[:, 0].tolist()
    assert list(map(len, characters)) == num_tokens  # what was kept was tokenised alike
    cut = set(encoded.truncated_documents)
    parts = tuple(
        DocumentParts.of(
            text, contents[i].spans, characters[i], is_cut=i in cut, by_token=words is not None
        )
        for i, (_, text) in enumerate(documents)
    )
    found = replace(encoded, parts=parts, words=words)
    if words is not None:
        first, last = encoded.signal_span
        check_num_shares(sum(len(each.spans) for each in parts), last - first)
    return found


def check_query(query: str) -> None:
    """Refuse a query that is not text.

    Raises:
        EmptyInputError: it holds nothing but white space.
        InputError: it is not a string, or not Unicode text.
    """
    check_text(query, "query")
    if not query.strip():
        raise EmptyInputError("query is empty", field="query")


def titles_and_texts(documents: Sequence[Document], *, max_documents: int) -> list[tuple[str, str]]:
    """Split each document into (title, text); the title is empty where none was given.

    Raises:
        EmptyInputError: there are no documents.
        InputTooLongError: there are more than max_documents.
        InputError: a document is neither a string nor {title, text} of strings.
    """
    if isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Sequence):
        raise InputError("documents is not a list", field="documents")
    if not documents:
        raise EmptyInputError("documents is empty", field="documents")
    if len(documents) > max_documents:
        raise InputTooLongError(
            f"documents holds {len(documents)} documents, the limit is {max_documents}",
            field="documents",
            limit=max_documents,
            value=len(documents),
        )
    return [_title_and_text(d, f"documents[{i}]") for i, d in enumerate(documents)]


def _title_and_text(document: Document, field: str) -> tuple[str, str]:
    if isinstance(document, str):
        check_text(document, field)
        return "", document
    if not isinstance(document, Mapping) or "text" not in document:
        raise InputError(f"{field} is neither a string nor has a text", field=field)
    if unknown := set(document) - {"title", "text", "doc_id"}:
        raise InputError(f"{field} has {len(unknown)} fields besides title and text", field=field)
    title, text = document.get("title") or "", document["text"]
    check_text(title, f"{field}.title")
    check_text(text, f"{field}.text")
    return title, text


def check_text(value: object, field: str) -> None:
    """Refuse what is not a string of Unicode text.

    Raises:
        InputError: it names the field.
    """
    if not isinstance(value, str):
        raise InputError(f"{field} is {type(value).__name__}, not a string", field=field)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{field} holds a lone surrogate, not Unicode text", field=field
        ) from error
