"""Encodes prompts whose blocks are tokenised alone: prefix, each document, tail."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.checkpoint.prompt_template import Control, Piece, Text
from blockrank_server.models.document_cache.document_cache import Lease
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.prompt.template import Filled, characters_in, fill, overlapping
from blockrank_server.models.prompt.tokenizer import TextTokenizer, TokenIds


class PerBlockEncoder:
    """Encodes prefix | documents | tail; every text piece of a block is tokenised alone."""

    def __init__(self, card: Card, tokenizer: TextTokenizer) -> None:
        self._card = card
        self._tokenizer = tokenizer

    def encode(
        self,
        values: Mapping[str, str],
        contents: Sequence[str],
        max_document_tokens: int,
    ) -> tuple[EncodedRequest, list[int]]:
        """Encode a request; also count the tokens each document's block had before it was cut.

        Args:
            values: what prefix and tail hold, by placeholder: the query, and what else is given.
        """
        documents = self._documents(contents, max_document_tokens)
        return self._request(values, documents, max_document_tokens)

    def encode_unknown(
        self,
        values: Mapping[str, str],
        contents: Sequence[str],
        lease: Lease,
        max_document_tokens: int,
    ) -> tuple[EncodedRequest, list[int]]:
        """Do as encode does, but tokenise no document that a lease holds.

        Args:
            contents: the other documents, in order.
            lease: is over all documents.
        """
        tokenised = iter(self._documents(contents, max_document_tokens))
        known = lease.entries[1:]
        documents = [
            next(tokenised) if kept is None else np.full(kept.num_tokens, -1, np.int32)
            for kept in known
        ]
        request, num_tokens = self._request(values, documents, max_document_tokens)
        cut = {i for i, kept in enumerate(known) if kept is not None and kept.is_cut}
        truncated = tuple(sorted(cut.union(request.truncated_documents)))
        return replace(request, truncated_documents=truncated, lease=lease), num_tokens

    def content_characters(
        self,
        values: Mapping[str, str],
        contents: Sequence[str],
        max_document_tokens: int,
    ) -> list[NDArray[np.int32]]:
        """Say for which characters of its content each scored token of a document stands.

        Returns:
            For each document [n, 2], as characters_in has it.
        """
        del values  # no token of a document depends on them
        heads = self._tokenizer.heads(contents, max_document_tokens)
        columns: list[list[NDArray[np.int32]]] = []
        for piece in self._card.prompt.document:
            if isinstance(piece, Control):
                columns.append([np.full((1, 2), -1, np.int32)] * len(heads))
                continue
            filled = self._filled(piece, heads)
            encodings = self._tokenizer.encode_with_offsets([each.text for each in filled])
            columns.append(
                [
                    characters_in(text, each.offsets, [s[1:] for s in spans if s[0] == "content"])
                    for (text, spans), each in zip(filled, encodings, strict=True)
                ]
            )
        return [np.concatenate(row)[:max_document_tokens] for row in zip(*columns, strict=True)]

    def tail_characters(
        self, values: Mapping[str, str], contents: Sequence[str], max_document_tokens: int
    ) -> NDArray[np.int32]:
        """Say for which characters of the query each token of the tail stands.

        Returns:
            [n, 2], as characters_in has it.
        """
        del contents, max_document_tokens  # no token of the tail depends on them
        columns = []
        for piece in self._card.prompt.tail_for(values):
            if isinstance(piece, Control):
                columns.append(np.full((1, 2), -1, np.int32))
                continue
            text, spans = fill(piece.text, values)
            queries = [span[1:] for span in spans if span[0] == "query"]
            columns.append(characters_in(text, self._tokenizer.encode(text).offsets, queries))
        return np.concatenate(columns)

    def count_tokens(self, contents: Sequence[str], max_tokens: int) -> list[int]:
        """Count the tokens of documents' blocks; maybe not all of those above max_tokens."""
        return list(map(len, self._documents(contents, max_tokens)))

    def _request(
        self,
        values: Mapping[str, str],
        whole: Sequence[TokenIds],
        max_document_tokens: int,
    ) -> tuple[EncodedRequest, list[int]]:
        prefix, _ = self._block(self._card.prompt.prefix_for(values), values)
        tail, query_span = self._block(self._card.prompt.tail_for(values), values)
        documents = [ids[:max_document_tokens] for ids in whole]
        lengths = np.array([len(ids) for ids in documents], np.int32)
        stops = len(prefix) + lengths.cumsum(dtype=np.int32)
        spans = np.stack([stops - lengths, stops], axis=1)
        tail_start = int(stops[-1])
        request = EncodedRequest(
            token_ids=np.concatenate([prefix, *documents, tail]),
            position_ids=self._positions(len(prefix), lengths, len(tail)),
            num_prefix_tokens=len(prefix),
            tail_start=tail_start,
            block_spans=spans,
            scored_spans=spans,
            signal_span=self._signal(tail_start, len(tail), query_span),
            truncated_documents=tuple(
                i for i, ids in enumerate(whole) if len(ids) > max_document_tokens
            ),
        )
        return request, [len(ids) for ids in whole]

    def _block(
        self, pieces: Iterable[Piece], values: Mapping[str, str]
    ) -> tuple[TokenIds, tuple[int, int]]:
        """Tokenise prefix or tail; also find the tokens of the last {query} in it."""
        ids: list[int] = []
        query_span = (0, 0)
        for piece in pieces:
            if isinstance(piece, Control):
                ids.append(self._tokenizer.control_id(piece.control))
                continue
            filled = fill(piece.text, values)
            encoding = self._tokenizer.encode(filled.text)
            for name, start, stop in filled.spans:
                if name != "query":
                    continue
                first, last = overlapping(encoding.offsets, start, stop)
                query_span = (len(ids) + first, len(ids) + last)
            ids.extend(encoding.ids)
        return np.array(ids, np.int32), query_span

    def _documents(self, contents: Sequence[str], max_tokens: int) -> list[TokenIds]:
        heads = self._tokenizer.heads(contents, max_tokens)
        columns: list[list[TokenIds]] = []
        for piece in self._card.prompt.document:
            if isinstance(piece, Control):
                control = np.array([self._tokenizer.control_id(piece.control)], np.int32)
                columns.append([control] * len(heads))
                continue
            texts = [each.text for each in self._filled(piece, heads)]
            columns.append(self._tokenizer.encode_many(texts))
        if len(columns) == 1:
            return columns[0]
        return [np.concatenate(row) for row in zip(*columns, strict=True)]

    def _filled(self, piece: Text, contents: Sequence[str]) -> list[Filled]:
        first = self._card.prompt.first_number
        return [
            fill(piece.text, {"content": content, "number": str(first + i)})
            for i, content in enumerate(contents)
        ]

    def _positions(
        self, num_prefix: int, lengths: NDArray[np.int32], num_tail: int
    ) -> NDArray[np.int32]:
        positions = self._card.positions
        if positions.tail_offset is None:
            return np.arange(num_prefix + int(lengths.sum()) + num_tail, dtype=np.int32)
        documents = [np.arange(num_prefix, num_prefix + n, dtype=np.int32) for n in lengths]
        tail = np.arange(positions.tail_offset, positions.tail_offset + num_tail, dtype=np.int32)
        return np.concatenate([np.arange(num_prefix, dtype=np.int32), *documents, tail])

    def _signal(
        self, tail_start: int, num_tail: int, query_span: tuple[int, int]
    ) -> tuple[int, int]:
        if (count := self._card.signal.count) is not None:
            return tail_start + num_tail - count, tail_start + num_tail
        return tail_start + query_span[0], tail_start + query_span[1]
