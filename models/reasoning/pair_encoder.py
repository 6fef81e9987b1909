"""Makes a prompt of each document and the query, by the card's template for a pair."""

from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding

from blockrank_server.models.checkpoint.prompt_template import Control
from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard
from blockrank_server.models.errors import CardError, InputTooLongError
from blockrank_server.models.prompt.document_parts import ExplainOption, check_explainable
from blockrank_server.models.prompt.limits import check_blank, cut_query, lowered, too_long
from blockrank_server.models.prompt.request import (
    Document,
    check_query,
    check_text,
    titles_and_texts,
)
from blockrank_server.models.prompt.template import fill
from blockrank_server.models.prompt.tokenizer import TextTokenizer, TokenIds
from blockrank_server.models.reasoning.chain_rules import check_pieces
from blockrank_server.models.reasoning.request import ReasoningRequest


class PairEncoder:
    """Encodes requests for one card of reasoning. Thread-safe.

    Args:
        tokenizer: must be of the same checkpoint.
        max_positions: counts the rotary positions the checkpoint was made for.

    Raises:
        CheckpointError: the card names a control token the tokenizer lacks.
        CardError: the card's limits do not fit each other or max_positions.
    """

    def __init__(self, card: ReasoningCard, tokenizer: TextTokenizer, max_positions: int) -> None:
        check_pieces(card.prompt.pair, tokenizer)
        self.card, self._tokenizer = card, tokenizer
        prompt = card.prompt
        self._query_template = (
            "{query}" if (name := prompt.query_template) is None else prompt.query_templates[name]
        )
        self._check_limits(max_positions)

    def encode(  # noqa: PLR0913 - one name for each thing a request can say
        self,
        query: str,
        documents: Sequence[Document],
        *,
        max_document_tokens: int | None = None,
        max_query_tokens: int | None = None,
        truncate: bool = True,
        summary: str = "",
        instruction: str = "",
        explain: ExplainOption = False,
        tokens_per_chain: float = 0.0,
    ) -> ReasoningRequest:
        """Make the prompts of one request.

        Args:
            query: not empty.
            documents: 1 to the card's max_documents; strings or {title, text}.
            max_document_tokens, max_query_tokens: lower the card's limits for this request.
            truncate: allows cutting what is too long; otherwise it is an error.
            summary: blank, since the prompt has no place for one.
            instruction: stands behind the query, as rank1 has it.
            explain: refuses more documents than can be explained.
            tokens_per_chain: what a chain is expected to cost, in tokens of a prompt.

        Raises:
            InputError: or a subclass, which names the field, the limit and the value.
        """
        limits = self.card.limits
        max_query = lowered(limits.max_query_tokens, max_query_tokens, "max_query_tokens")
        max_document = lowered(
            limits.max_document_tokens, max_document_tokens, "max_document_tokens"
        )
        check_query(query)
        check_blank(summary, "summary", self.card.name)
        check_text(instruction, "instruction")
        pairs = titles_and_texts(documents, max_documents=limits.max_documents)
        if explain:
            check_explainable(len(pairs))
        instructed = query if instruction == query else f"{query} {instruction}".strip()
        kept, query_truncated = cut_query(self._tokenizer, instructed, max_query, truncate=truncate)
        contents = self._tokenizer.cut(list(map(self._content, pairs)), max_document)
        cut = tuple(i for i, (_, count) in enumerate(contents) if count > max_document)
        if cut and not truncate:
            raise too_long(f"documents[{cut[0]}]", max_document, contents[cut[0]][1])
        prompts = self._prompts(kept, [content for content, _ in contents])
        self._check_context(prompts)
        return ReasoningRequest.of(
            prompts,
            num_optional=round(tokens_per_chain * len(prompts)),
            truncated_documents=cut,
            query_truncated=query_truncated,
        )

    def tokenize(self, text: str) -> Encoding:
        """Find ids and character offsets of a text alone, as it would stand in a document."""
        return self._tokenizer.encode(text)

    def _content(self, pair: tuple[str, str]) -> str:
        title, text = pair
        prompt = self.card.prompt
        template = prompt.content if title else prompt.content_without_title
        return fill(template, {"title": title, "text": text}).text

    def _prompts(self, query: str, contents: Sequence[str]) -> list[TokenIds]:
        """Tokenise what stands between two control tokens as one text; and each control alone."""
        filled = fill(self._query_template, {"query": query}).text
        columns: list[list[TokenIds]] = []
        texts = [""] * len(contents)

        def flush() -> None:
            nonlocal texts
            if any(texts):
                columns.append(self._tokenizer.encode_many(texts))
            texts = [""] * len(contents)

        for piece in self.card.prompt.pair:
            if isinstance(piece, Control):
                flush()
                control = np.array([self._tokenizer.control_id(piece.control)], np.int32)
                columns.append([control] * len(contents))
                continue
            for i, content in enumerate(contents):
                texts[i] += fill(piece.text, {"query": filled, "content": content}).text
        flush()
        return [np.concatenate(row) for row in zip(*columns, strict=True)]

    def _check_context(self, prompts: Sequence[TokenIds]) -> None:
        limit = self.card.chain.max_context - 1
        for i, ids in enumerate(prompts):
            if len(ids) > limit:
                raise InputTooLongError(
                    f"documents[{i}] and query need {len(ids)} tokens, the limit is {limit}",
                    field=f"documents[{i}]",
                    limit=limit,
                    value=len(ids),
                )

    def _check_limits(self, max_positions: int) -> None:
        """Refuse a context that the checkpoint lacks, or that the longest prompt would fill."""
        card, max_context = self.card, self.card.chain.max_context
        if max_context > max_positions:
            raise CardError(
                f"card {card.name}: chain.max_context is {max_context}, the checkpoint has "
                f"{max_positions} positions"
            )
        [frame] = self._prompts("", [""])
        limits = card.limits
        longest = len(frame) + limits.max_query_tokens + limits.max_document_tokens
        if longest >= max_context:
            raise CardError(
                f"card {card.name}: chain.max_context is {max_context}, the longest query and "
                f"document need {longest} and a token of the chain"
            )
