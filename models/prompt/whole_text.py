"""Encodes prompts as one string, as a causal reranker saw them: a token may span two blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.checkpoint.prompt_template import Control, Piece
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.prompt.template import characters_in, fill, overlapping
from blockrank_server.models.prompt.tokenizer import TextTokenizer


@dataclass
class _PromptState:
    """Holds ids so far, the open run of text, and the character spans waiting for its tokens.

    Attributes:
        runs: of each closed run and control token, where it starts in all texts, and its tokens'
            offsets in itself.
        closed: holds the runs of text before the open one.
        contents: where each document's content starts and stops in all texts.
        queries: where the query does, each time that the tail holds it.
    """

    ids: list[int] = field(default_factory=list)
    text: str = ""
    waiting: list[tuple[str, int, int]] = field(default_factory=list)
    spans: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    runs: list[tuple[int, list[tuple[int, int]]]] = field(default_factory=list)
    closed: str = ""
    contents: list[tuple[int, int]] = field(default_factory=list)
    queries: list[tuple[int, int]] = field(default_factory=list)


class WholeTextEncoder:
    """Encodes prefix, documents and tail as one text, cut only at control tokens."""

    def __init__(self, card: Card, tokenizer: TextTokenizer) -> None:
        self._card = card
        self._tokenizer = tokenizer

    def encode(
        self,
        values: Mapping[str, str],
        contents: Sequence[str],
        max_document_tokens: int,
    ) -> tuple[EncodedRequest, list[int]]:
        """Encode a request; also count the tokens each document had, as TextTokenizer.cut does.

        Args:
            values: what prefix and tail hold, by placeholder: the query, and what else is given.
        """
        cut = self._tokenizer.cut(contents, max_document_tokens)
        state = self._state(values, [content for content, _ in cut])
        num_tokens = [count for _, count in cut]
        truncated = tuple(i for i, n in enumerate(num_tokens) if n > max_document_tokens)
        return self._request(state, truncated), num_tokens

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
        cut = self._tokenizer.cut(contents, max_document_tokens)
        state = self._state(values, [content for content, _ in cut])
        whole = self._offsets(state)
        found = []
        for (first, last), content in zip(self._scored(state), state.contents, strict=True):
            offsets = whole[first:last]
            start = int(min(offsets[:, 0].min(initial=content[0]), content[0]))
            stop = int(max(offsets[:, 1].max(initial=content[1]), content[1]))
            span = content[0] - start, content[1] - start
            found.append(characters_in(state.closed[start:stop], offsets - start, [span]))
        return found

    def tail_characters(
        self, values: Mapping[str, str], contents: Sequence[str], max_document_tokens: int
    ) -> NDArray[np.int32]:
        """Say for which characters of the query each token of the tail stands.

        Returns:
            [n, 2], as characters_in has it.
        """
        cut = self._tokenizer.cut(contents, max_document_tokens)
        state = self._state(values, [content for content, _ in cut])
        offsets = self._offsets(state)[state.spans["block"][-1][1] :]
        # The first token may be of the last document, too.
        start = int(offsets[:, 0].min(initial=state.queries[0][0]))
        queries = [(a - start, b - start) for a, b in state.queries]
        return characters_in(state.closed[start:], offsets - start, queries)

    def _offsets(self, state: _PromptState) -> NDArray[np.int32]:
        """Return [T, 2], the characters of all texts that each token stands for."""
        whole = [(start + a, start + b) for start, run in state.runs for a, b in run]
        return np.array(whole, np.int32).reshape(-1, 2)

    def count_tokens(self, contents: Sequence[str], max_tokens: int) -> list[int]:
        """Count the tokens of documents' contents; maybe not all of those above max_tokens."""
        return [num_tokens for _, num_tokens in self._tokenizer.cut(contents, max_tokens)]

    def _state(self, values: Mapping[str, str], contents: Sequence[str]) -> _PromptState:
        template, state = self._card.prompt, _PromptState()
        self._add(state, template.prefix_for(values), values, "prefix")
        for i, content in enumerate(contents):
            inside = {"content": content, "number": str(template.first_number + i)}
            self._add(state, template.document, inside, "block")
        self._add(state, template.tail_for(values), values, "tail")
        self._close(state)
        return state

    def _add(
        self, state: _PromptState, pieces: Sequence[Piece], values: Mapping[str, str], part: str
    ) -> None:
        for piece in pieces:
            if isinstance(piece, Control):
                self._close(state)
                state.ids.append(self._tokenizer.control_id(piece.control))
                state.runs.append((len(state.closed), [(0, 0)]))
                continue
            filled, start = fill(piece.text, values), len(state.text)
            for name, a, b in filled.spans:
                # The space before a content belongs to its first token.
                first = len(filled.text[:a].rstrip(" ")) if name == "content" else a
                state.waiting.append((f"{part}.{name}", start + first, start + b))
                before = len(state.closed) + start
                if name == "content":
                    state.contents.append((before + a, before + b))
                elif (part, name) == ("tail", "query"):
                    state.queries.append((before + a, before + b))
            state.waiting.append((part, start, start + len(filled.text)))
            state.text += filled.text

    def _close(self, state: _PromptState) -> None:
        """Tokenise the open text and turn the waiting character spans into token spans."""
        encoding = self._tokenizer.encode(state.text)
        offsets, done = encoding.offsets, len(state.ids)
        starts = np.array([a for a, _ in offsets])
        stops = np.array([b for _, b in offsets])
        for name, a, b in state.waiting:
            # Offsets ascend, so the tokens around a span are found without walking the prompt.
            low = max(0, int(np.searchsorted(stops, a, "right")) - 1)
            high = int(np.searchsorted(starts, b, "left")) + 1
            first, last = overlapping(offsets[low:high], a, b)
            state.spans.setdefault(name, []).append((done + low + first, done + low + last))
        state.ids.extend(encoding.ids)
        state.runs.append((len(state.closed), offsets))
        state.closed += state.text
        state.text, state.waiting = "", []

    def _scored(self, state: _PromptState) -> list[tuple[int, int]]:
        """Return the tokens of each document that are scored."""
        is_block = self._card.prompt.scored_tokens == "block"
        return state.spans["block" if is_block else "block.content"]

    def _request(self, state: _PromptState, truncated: tuple[int, ...]) -> EncodedRequest:
        blocks = np.array(state.spans["block"], np.int32).reshape(-1, 2)
        size, count = len(state.ids), self._card.signal.count
        return EncodedRequest(
            token_ids=np.array(state.ids, np.int32),
            position_ids=np.arange(size, dtype=np.int32),
            num_prefix_tokens=int(blocks[0, 0]),
            tail_start=int(blocks[-1, 1]),
            block_spans=blocks,
            scored_spans=np.array(self._scored(state), np.int32).reshape(-1, 2),
            signal_span=state.spans["tail.query"][-1] if count is None else (size - count, size),
            truncated_documents=truncated,
        )
