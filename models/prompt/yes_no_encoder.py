"""Turns a request's text into token ids for a yes/no reranker: the query, then each document alone.

Positions of every document go on from the prefix, so that its tokens are those of its own prompt.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tokenizers import Encoding

from blockrank_server.models.checkpoint.prompt_template import Control, Piece, Text
from blockrank_server.models.checkpoint.yes_no_card import YesNoCard
from blockrank_server.models.errors import CardError, InputError
from blockrank_server.models.prompt.document_parts import ExplainOption
from blockrank_server.models.prompt.limits import (
    check_blank,
    check_positions,
    cut_query,
    instruction_of,
    lowered,
    too_long,
)
from blockrank_server.models.prompt.prompt_encoder import Find
from blockrank_server.models.prompt.request import (
    Document,
    EncodedRequest,
    check_query,
    titles_and_texts,
)
from blockrank_server.models.prompt.template import fill, fill_content
from blockrank_server.models.prompt.tokenizer import TextTokenizer, TokenIds


class YesNoEncoder:
    """Encodes requests for one card. Thread-safe.

    Args:
        card: holds templates and limits.
        tokenizer: must be of the same checkpoint.
        max_positions: counts the rotary positions the checkpoint was made for.

    Raises:
        CheckpointError: the card names a control token the tokenizer lacks.
        CardError: the longest pair that the card allows has more than max_positions.
    """

    def __init__(self, card: YesNoCard, tokenizer: TextTokenizer, max_positions: int) -> None:
        self.card = card
        self.max_positions = max_positions
        self._tokenizer = tokenizer
        pieces = card.prompt.document
        [at] = [i for i, p in enumerate(pieces) if isinstance(p, Text) and "{content}" in p.text]
        content = pieces[at]
        assert isinstance(content, Text)
        self._content = content.text
        self._before = self._ids(pieces[:at], {})
        self._after = self._ids(pieces[at + 1 :], {})
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
            summary: is blank: the prompt has no place for one.
            instruction: is that of the card where it is blank.
            find: is None: no documents are kept.
            explain: is False: no attention is read.

        Raises:
            InputError: or a subclass, which names the field, the limit and the value.
        """
        assert find is None
        limits = self.card.limits
        max_query = lowered(limits.max_query_tokens, max_query_tokens, "max_query_tokens")
        max_document = self.document_limit(max_document_tokens)
        check_query(query)
        pairs = titles_and_texts(documents, max_documents=limits.max_documents)
        self._check_absent(summary, explain=explain)
        kept, is_query_cut = cut_query(self._tokenizer, query, max_query, truncate=truncate)
        contents = [fill_content(self.card.prompt, *pair).text for pair in pairs]
        whole = self._contents(contents, max_document)
        cut = tuple(i for i, ids in enumerate(whole) if len(ids) > max_document)
        if cut and not truncate:
            raise too_long(f"documents[{cut[0]}]", max_document, len(whole[cut[0]]))
        prefix = self._prefix(kept, self._instruction(instruction))
        encoded = self._request(prefix, [ids[:max_document] for ids in whole])
        check_positions(encoded, self.max_positions)
        return replace(encoded, truncated_documents=cut, query_truncated=is_query_cut)

    def document_limit(self, asked: int | None) -> int:
        """Do as PromptEncoder.document_limit does."""
        return lowered(self.card.limits.max_document_tokens, asked, "max_document_tokens")

    @property
    def tokenizer(self) -> TextTokenizer:
        return self._tokenizer

    def count_tokens(self, contents: Sequence[str], max_tokens: int) -> list[int]:
        """Do as PromptEncoder.count_tokens does."""
        return list(map(len, self._contents(contents, max_tokens)))

    def tokenize(self, text: str) -> Encoding:
        """Find ids and character offsets of a text alone."""
        return self._tokenizer.encode(text)

    def _request(self, prefix: TokenIds, contents: Sequence[TokenIds]) -> EncodedRequest:
        blocks = [np.concatenate([self._before, ids, self._after]) for ids in contents]
        lengths = np.array(list(map(len, blocks)), np.int32)
        stops = len(prefix) + lengths.cumsum(dtype=np.int32)
        spans = np.stack([stops - lengths, stops], axis=1)
        positions = [np.arange(len(prefix), len(prefix) + n, dtype=np.int32) for n in lengths]
        end = int(stops[-1])
        return EncodedRequest(
            token_ids=np.concatenate([prefix, *blocks]),
            position_ids=np.concatenate([np.arange(len(prefix), dtype=np.int32), *positions]),
            num_prefix_tokens=len(prefix),
            tail_start=end,
            block_spans=spans,
            scored_spans=spans,
            signal_span=(end, end),
        )

    def _prefix(self, query: str, instruction: str) -> TokenIds:
        values = {"query": query, "instruction": instruction}
        return self._ids(self.card.prompt.prefix_for(instruction), values)

    def _ids(self, pieces: Sequence[Piece], values: dict[str, str]) -> TokenIds:
        ids: list[int] = []
        for piece in pieces:
            if isinstance(piece, Control):
                ids.append(self._tokenizer.control_id(piece.control))
            else:
                ids.extend(self._tokenizer.encode(fill(piece.text, values).text).ids)
        return np.array(ids, np.int32)

    def _contents(self, contents: Sequence[str], max_tokens: int) -> list[TokenIds]:
        heads = self._tokenizer.heads(contents, max_tokens)
        return self._tokenizer.encode_many(
            [fill(self._content, {"content": head}).text for head in heads]
        )

    def _instruction(self, given: str) -> str:
        """Return the request's instruction, or the card's; what is too long is never cut."""
        prompt = self.card.prompt
        if not prompt.takes_instruction:
            check_blank(given, "instruction", self.card.name)
            return prompt.instruction
        limit = self.card.limits.max_instruction_tokens
        return instruction_of(self._tokenizer, given, limit) or prompt.instruction

    def _check_absent(self, summary: str, *, explain: ExplainOption) -> None:
        check_blank(summary, "summary", self.card.name)
        if explain:
            raise InputError(
                f"explain is not for {self.card.name}: its scores are verdicts, not attention",
                field="explain",
            )

    def _check_limits(self) -> None:
        limits = self.card.limits
        frame = len(self._prefix("", " ")) + len(self._before) + len(self._after)
        longest = frame + limits.max_query_tokens + limits.max_document_tokens
        if self.card.prompt.takes_instruction:
            longest += limits.max_instruction_tokens
        if longest > self.max_positions:
            raise CardError(
                f"card {self.card.name}: the longest pair needs {longest} positions, the "
                f"checkpoint has {self.max_positions}"
            )


def verdict_ids(card: YesNoCard, tokenizer: TextTokenizer) -> tuple[int, int]:
    """Look up the tokens no and yes.

    Raises:
        CardError: a word is not one token, or both are the same.
    """
    found = []
    for word in (card.verdict.no, card.verdict.yes):
        ids = tokenizer.encode(word).ids
        if len(ids) != 1:
            raise CardError(
                f"card {card.name}: the verdict {word!r} is {len(ids)} tokens of the checkpoint's "
                "tokenizer, one is needed"
            )
        found += ids
    no, yes = found
    if no == yes:
        raise CardError(f"card {card.name}: both verdicts are the token {yes}")
    return no, yes
