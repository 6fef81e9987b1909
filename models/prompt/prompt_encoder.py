"""Turns a request's text into token ids, by the card's templates: the first step of a request.

What is cut is decided here, before any queue: a document, query or summary over its limit loses its
end, if the caller allows it; prefix and tail are never cut.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tokenizers import Encoding

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.checkpoint.prompt_template import Control, Piece, count_placeholder
from blockrank_server.models.document_cache.document_cache import Lease
from blockrank_server.models.errors import CardError
from blockrank_server.models.prompt.document_parts import ExplainOption, check_explainable
from blockrank_server.models.prompt.limits import (
    check_blank,
    check_positions,
    cut_query,
    instruction_of,
    lowered,
    too_long,
)
from blockrank_server.models.prompt.per_block import PerBlockEncoder
from blockrank_server.models.prompt.query_words import QueryWords
from blockrank_server.models.prompt.request import (
    Document,
    EncodedRequest,
    check_query,
    check_text,
    titles_and_texts,
    with_parts,
)
from blockrank_server.models.prompt.template import fill_content
from blockrank_server.models.prompt.tokenizer import TextTokenizer
from blockrank_server.models.prompt.whole_text import WholeTextEncoder

# ((title, text) of each document, the limit at which they are cut) -> those that are known
Find = Callable[[Sequence[tuple[str, str]], int], Lease]


class PromptEncoder:
    """Encodes requests for one card. Thread-safe.

    Args:
        card: holds templates, limits and positions.
        tokenizer: must be of the same checkpoint.
        max_positions: counts the rotary positions the checkpoint was made for.

    Raises:
        CheckpointError: the card names a control token the tokenizer lacks.
        CardError: the card's limits and tail_offset do not fit each other or max_positions.
    """

    def __init__(self, card: Card, tokenizer: TextTokenizer, max_positions: int) -> None:
        for piece in _pieces(card):
            if isinstance(piece, Control):
                tokenizer.control_id(piece.control)
        self.card = card
        self._tokenizer = tokenizer
        encoder = PerBlockEncoder if card.prompt.tokenise == "blocks" else WholeTextEncoder
        self._encoder = encoder(card, tokenizer)
        self.max_positions = max_positions
        self._check_limits()

    def encode(  # noqa: PLR0913 - one name for each field of a request
        self,
        query: str,
        documents: Sequence[Document],
        *,
        max_document_tokens: int | None = None,
        max_query_tokens: int | None = None,
        truncate: bool = True,
        summary: str = "",
        instruction: str = "",
        find: Find | None = None,
        explain: ExplainOption = False,
    ) -> EncodedRequest:
        """Make token ids, positions and spans of one request.

        Args:
            query: not empty.
            documents: 1 to the card's max_documents; strings or {title, text}.
            max_document_tokens: lowers the card's limit for this request.
            max_query_tokens: lowers the card's limit for this request.
            truncate: allows cutting what is too long; otherwise it is an error.
            summary: of what the documents come from, for a card with a place for it; blank is none.
            instruction: on what is relevant, for a card with a place for it; blank is none.
            find: looks for documents whose keys and values are kept, which are not tokenised; must
                find no cut ones where truncate is False.
            explain: says of each token which part of its document it stands for, as
                document_parts.py tells, and, by tokens, of each signal token which word of the
                query; known documents are tokenised, too.

        Raises:
            InputError: or a subclass, which names the field, the limit and the value.
        """
        limits = self.card.limits
        max_query = lowered(limits.max_query_tokens, max_query_tokens, "max_query_tokens")
        max_document = self.document_limit(max_document_tokens)
        check_query(query)
        pairs = titles_and_texts(documents, max_documents=limits.max_documents)
        if explain:
            check_explainable(len(pairs))
        kept, is_query_cut = cut_query(self._tokenizer, query, max_query, truncate=truncate)
        kept_summary, is_cut = self._summary(summary, truncate=truncate)
        values = {"query": kept} | kept_summary | self._instruction(instruction)
        encoded, num_tokens = self._encode(values, pairs, max_document, find)
        if encoded.truncated_documents and not truncate:
            first = encoded.truncated_documents[0]
            raise too_long(f"documents[{first}]", max_document, num_tokens[first])
        check_positions(encoded, self.max_positions)
        encoded = replace(encoded, query_truncated=is_query_cut, summary_truncated=is_cut)
        if not explain:
            return encoded
        contents = [fill_content(self.card.prompt, *pair) for pair in pairs]
        texts = [each.text for each in contents]
        characters = self._encoder.content_characters(values, texts, max_document)
        words = None
        if explain == "tokens":
            tail_T2 = self._encoder.tail_characters(values, texts, max_document)
            first, last = (edge - encoded.tail_start for edge in encoded.signal_span)
            words = QueryWords.of(kept, tail_T2[first:last])
        return with_parts(encoded, pairs, contents, characters, words)

    def _summary(self, summary: str, *, truncate: bool) -> tuple[dict[str, str], bool]:
        """Return what is kept of a summary, nothing if there is none, and whether it was cut."""
        if not self.card.prompt.takes_summary:
            check_blank(summary, "summary", self.card.name)
            return {}, False
        check_text(summary, "summary")
        if not summary.strip():
            return {}, False
        limit = self.card.limits.max_summary_tokens
        ((kept, num_tokens),) = self._tokenizer.cut([summary], limit)
        if num_tokens > limit and not truncate:
            raise too_long("summary", limit, num_tokens)
        return {"summary": kept}, num_tokens > limit

    def _instruction(self, instruction: str) -> dict[str, str]:
        if not self.card.prompt.takes_instruction:
            check_blank(instruction, "instruction", self.card.name)
            return {}
        limit = self.card.limits.max_instruction_tokens
        text = instruction_of(self._tokenizer, instruction, limit)
        return {"instruction": text} if text else {}

    def document_limit(self, asked: int | None) -> int:
        """Return the tokens at which documents are cut.

        Args:
            asked: lowers the card's limit.

        Raises:
            InputError: it is below 1.
        """
        return lowered(self.card.limits.max_document_tokens, asked, "max_document_tokens")

    def _encode(
        self,
        values: Mapping[str, str],
        pairs: Sequence[tuple[str, str]],
        max_document_tokens: int,
        find: Find | None,
    ) -> tuple[EncodedRequest, list[int]]:
        if find is None:
            contents = [fill_content(self.card.prompt, *pair).text for pair in pairs]
            return self._encoder.encode(values, contents, max_document_tokens)
        # Documents that depend on nothing but their text are blocks.
        assert isinstance(self._encoder, PerBlockEncoder)
        lease = find(pairs, max_document_tokens)
        known = zip(pairs, lease.entries[1:], strict=True)
        unknown = [
            fill_content(self.card.prompt, *pair).text for pair, kept in known if kept is None
        ]
        return self._encoder.encode_unknown(values, unknown, lease, max_document_tokens)

    @property
    def tokenizer(self) -> TextTokenizer:
        return self._tokenizer

    def count_tokens(self, contents: Sequence[str], max_tokens: int) -> list[int]:
        """Count tokens of documents as max_document_tokens does.

        Those above max_tokens need not all be counted.
        """
        return self._encoder.count_tokens(contents, max_tokens)

    def tokenize(self, text: str) -> Encoding:
        """Find ids and character offsets of a text alone, as it would stand in a document."""
        return self._tokenizer.encode(text)

    def _check_limits(self) -> None:
        """Refuse a card whose positions leave no room for the longest query and document.

        The longest summary counts, too, and the longest instruction.
        """
        offset = self.card.positions.tail_offset
        if offset is None:
            return
        limits = self.card.limits
        values = dict.fromkeys(("query", "summary", "instruction"), "")
        frame, _ = self._encoder.encode(values, [""], limits.max_document_tokens)
        prefix, tail = self.card.prompt.prefix, self.card.prompt.tail
        before = (
            frame.num_prefix_tokens
            + count_placeholder(prefix, "query") * limits.max_query_tokens
            + count_placeholder(prefix, "summary") * limits.max_summary_tokens
        )
        if before + limits.max_document_tokens > offset:
            raise CardError(
                f"card {self.card.name}: positions.tail_offset is {offset}, prefix and longest "
                f"document need {before + limits.max_document_tokens}"
            )
        end = int(frame.position_ids[-1]) + 1 + limits.max_query_tokens
        end += count_placeholder(tail, "instruction") * limits.max_instruction_tokens
        if end > self.max_positions:
            raise CardError(
                f"card {self.card.name}: the longest tail ends at position {end}, "
                f"the checkpoint has {self.max_positions}"
            )


def _pieces(card: Card) -> list[Piece]:
    return [*card.prompt.prefix, *card.prompt.document, *card.prompt.tail]
