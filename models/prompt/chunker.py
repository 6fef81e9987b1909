"""Cuts documents that are too long into chunks, which are ranked as documents in their place."""

from collections.abc import Mapping, Sequence

from blockrank_server.models.errors import InputError, InputTooLongError
from blockrank_server.models.prompt.chunk_spans import TokenEdges
from blockrank_server.models.prompt.chunks import Chunks
from blockrank_server.models.prompt.encoder import AnyEncoder
from blockrank_server.models.prompt.limits import lowered, too_long
from blockrank_server.models.prompt.long_document import Block, LongDocument
from blockrank_server.models.prompt.request import Document, titles_and_texts
from blockrank_server.models.prompt.template import fill_content

LEAST_CHUNK_TOKENS = 16
"""Tokens that a chunk must have room for, besides the words that a card puts around it."""


class Chunker:
    """Cuts the documents of requests for one card. Thread-safe."""

    def __init__(self, encoder: AnyEncoder) -> None:
        self._encoder, self._limits = encoder, encoder.card.limits

    def cut(
        self,
        documents: Sequence[Document],
        *,
        max_document_tokens: int | None = None,
        max_chunks_per_doc: int | None = None,
        truncate: bool = True,
    ) -> Chunks:
        """Cut documents that are over the limit into chunks that are not; leave others as they are.

        Args:
            documents: as Ranker.encode takes them; at most max_documents, with all chunks.
            max_document_tokens: lowers the card's limit, as in Ranker.encode.
            max_chunks_per_doc: what comes behind so many is left out.
            truncate: allows that, and cutting a title that takes more than half of a chunk.

        Raises:
            InputError: or a subclass, which names the field, the limit and the value.
        """
        pairs = titles_and_texts(documents, max_documents=self._limits.max_documents)
        limit = self._encoder.document_limit(max_document_tokens)
        # One more than can be, so that it is refused and not cut.
        most = lowered(self._limits.max_documents + 1, max_chunks_per_doc, "max_chunks_per_doc")
        max_title = self._room(limit) // 2
        long: dict[int, LongDocument] = {}
        is_changed = True
        while is_changed:
            blocks = _blocks(documents, pairs, long)
            num_chunks, is_changed = len(blocks), False
            self._check_number(num_chunks)
            for i, num_excess in self._excess(blocks, pairs, limit).items():
                if i in long:  # some tokens are more alone than they are in the whole text
                    is_changed |= long[i].shrink(num_excess)
                    continue
                # What is read beyond these is of no use: there are too many.
                useful = min(most, self._limits.max_documents + 2 - num_chunks)
                long[i] = self._read(*pairs[i], limit, max_title, useful)
                num_chunks, is_changed = num_chunks + len(long[i].spans) - 1, True
                self._check_number(num_chunks)
        if not truncate:
            _check_whole(long, max_title)
        return Chunks(
            documents=tuple(block.document for block in blocks),
            owners=tuple(block.owner for block in blocks),
            spans=tuple(block.span for block in blocks),
            truncated={
                i: each.spans[-1][1] if each.is_text_cut else None
                for i, each in long.items()
                if each.is_text_cut or each.is_title_cut
            },
        )

    def _read(
        self, title: str, text: str, limit: int, max_title_tokens: int, max_chunks: int
    ) -> LongDocument:
        tokenizer = self._encoder.tokenizer
        ((kept, num_tokens),) = tokenizer.cut([title], max_title_tokens)
        [num_others] = self._count([(kept, "")], limit)
        max_text_tokens = max(1, limit - num_others)
        most = max_chunks * max_text_tokens  # chunks overlap, and hold less
        tokens, num_read = TokenEdges.read(text, tokenizer.encode, most)
        return LongDocument(
            title=kept,
            text=text[:num_read],
            tokens=tokens,
            max_text_tokens=max_text_tokens,
            max_chunks=max_chunks,
            is_title_cut=num_tokens > max_title_tokens,
            is_text_cut=num_read < len(text),
        )

    def _excess(
        self, blocks: Sequence[Block], pairs: Sequence[tuple[str, str]], limit: int
    ) -> dict[int, int]:
        """Map documents with a chunk that is too long to how much; a blank text has no chunks."""
        found = titles_and_texts([block.document for block in blocks], max_documents=len(blocks))
        excess: dict[int, int] = {}
        for (i, _, _), num_tokens in zip(blocks, self._count(found, limit), strict=True):
            if num_tokens > limit and pairs[i][1].strip():
                excess[i] = max(excess.get(i, 0), num_tokens - limit)
        return excess

    def _count(self, pairs: Sequence[tuple[str, str]], limit: int) -> list[int]:
        """Count tokens as the card's limit does; above the limit maybe not all of them."""
        contents = [fill_content(self._encoder.card.prompt, *pair).text for pair in pairs]
        return self._encoder.count_tokens(contents, limit)

    def _room(self, limit: int) -> int:
        """Return the tokens that a chunk has for title and text.

        Raises:
            InputError: they are too few.
        """
        [num_frame] = self._count([("", "")], self._limits.max_document_tokens)
        if limit - num_frame < LEAST_CHUNK_TOKENS:
            least = num_frame + LEAST_CHUNK_TOKENS
            raise InputError(
                f"max_document_tokens is {limit}, a chunk needs at least {least}, of which the "
                f"model's prompt takes {num_frame}",
                field="max_document_tokens",
                limit=least,
                value=limit,
            )
        return limit - num_frame

    def _check_number(self, num_chunks: int) -> None:
        if num_chunks > self._limits.max_documents:
            raise InputTooLongError(
                f"documents are {num_chunks} chunks or more, the limit is "
                f"{self._limits.max_documents}: send fewer, or allow longer chunks, or fewer of "
                "each (max_chunks_per_doc)",
                field="documents",
                limit=self._limits.max_documents,
                value=num_chunks,
            )


def _blocks(
    documents: Sequence[Document],
    pairs: Sequence[tuple[str, str]],
    long: Mapping[int, LongDocument],
) -> list[Block]:
    """Put chunks in place of long documents."""
    found: list[Block] = []
    for i, (document, (_, text)) in enumerate(zip(documents, pairs, strict=True)):
        whole = [Block(i, document, (0, len(text)))]
        found += long[i].blocks(i) if i in long else whole
    return found


def _check_whole(long: Mapping[int, LongDocument], max_title_tokens: int) -> None:
    """Refuse to leave out anything.

    Raises:
        InputTooLongError: something would be.
    """
    for i, each in long.items():
        if each.is_title_cut:
            raise too_long(f"documents[{i}].title", max_title_tokens, max_title_tokens + 1)
        if each.is_text_cut:
            raise InputTooLongError(
                f"documents[{i}] has more chunks than max_chunks_per_doc, which is "
                f"{each.max_chunks}, and truncation is off",
                field=f"documents[{i}]",
                limit=each.max_chunks,
            )
