"""Lays the requests of a batch on one token axis, without padding: the first step of a batch.

Where a card says documents are reusable, equal prefixes and equal documents of a batch stand there
once: with shared positions their keys and values are the same for every request, to the bit. Those
that are kept from batches before do not stand there at all.

What tails see without it being tokens side by side is named behind the tokens, so that it is one
span of keys (kernels/key_rows.py): documents that are kept, and, where the card has a tail_stride
above 1, the tokens that the tail sees of the others:

    tokens   prefix | document 0 | document 2 | tail
    keys     prefix | document 0 | document 2 | tail | some of 0 | kept of 1 | some of 2
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.segments import Segment, Span
from blockrank_server.kernels.span_lse import SpanRead
from blockrank_server.models.checkpoint.any_card import PackedCard
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.document_cache.kept import Kept, NewDocument
from blockrank_server.models.engine.content_order import by_content
from blockrank_server.models.engine.kept_tokens import kept_tokens
from blockrank_server.models.engine.named_keys import NamedKeys, joined, placer
from blockrank_server.models.engine.pair_segments import pair_segments
from blockrank_server.models.engine.part_reads import PartRead, part_reads
from blockrank_server.models.prompt.request import EncodedRequest


@dataclass(frozen=True, slots=True, eq=False)
class PackedBatch:
    """Holds a batch as the engine takes it.

    Attributes:
        token_ids: [T] int32.
        position_ids: [T] int32 rotary positions.
        segments: cover the T tokens, and say who sees what.
        reads: one for each request: its documents' scored spans, then, where the card normalises
            over everything, the spans its signal tokens see.
        num_documents: one for each request.
        key_rows: says which rows of k and v the keys of segments and reads are; None: those of
            their number. The rows of kept documents come after the T of the tokens.
        kept: what is seen of batches before, in the order of its rows.
        new: what may be kept for batches to come.
        part_reads: those of the requests that ask for them.
    """

    token_ids: NDArray[np.int32]
    position_ids: NDArray[np.int32]
    segments: tuple[Segment, ...]
    reads: tuple[SpanRead, ...]
    num_documents: tuple[int, ...]
    key_rows: KeyRows | None = None
    kept: tuple[Kept, ...] = ()
    new: tuple[NewDocument, ...] = ()
    part_reads: tuple[PartRead, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Count T, the tokens every linear layer computes."""
        return len(self.token_ids)


def pack(requests: Sequence[EncodedRequest], card: PackedCard) -> PackedBatch:
    """Lay requests one after another on one token axis.

    Raises:
        ValueError: there are no requests.
    """
    if not requests:
        raise ValueError("a batch needs at least one request")
    if not isinstance(card, Card):
        return PackedBatch(
            token_ids=np.concatenate([request.token_ids for request in requests]),
            position_ids=np.concatenate([request.position_ids for request in requests]),
            segments=pair_segments(requests),
            reads=(),
            num_documents=tuple(request.num_documents for request in requests),
        )
    packer = _Packer(card)
    for request in requests:
        packer.add(request)
    packer.finish()
    return PackedBatch(
        token_ids=np.concatenate(packer.token_ids),
        position_ids=np.concatenate(packer.position_ids),
        segments=tuple(packer.segments),
        reads=tuple(packer.reads),
        num_documents=tuple(request.num_documents for request in requests),
        key_rows=packer.named.key_rows(packer.num_tokens),
        kept=tuple(packer.named.kept),
        new=tuple(packer.new.values()),
        part_reads=part_reads(requests, packer.reads, card.tail_stride),
    )


@dataclass(frozen=True, slots=True)
class _Tail:
    """Holds a tail whose tokens have their place, and the keys that it sees."""

    request: EncodedRequest
    index: int  # of its segment
    prefix: Span
    documents: list[Span]
    scored: list[Span]


@dataclass
class _Packer:
    card: Card
    token_ids: list[NDArray[np.int32]] = field(default_factory=list)
    position_ids: list[NDArray[np.int32]] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    reads: list[SpanRead] = field(default_factory=list)
    num_tokens: int = 0
    placed: dict[tuple[Span | None, bytes, bytes], Span] = field(default_factory=dict)
    tails: list[_Tail] = field(default_factory=list)
    named: NamedKeys = field(default_factory=NamedKeys)
    new: dict[bytes, NewDocument] = field(default_factory=dict)

    def add(self, request: EncodedRequest) -> None:
        add = self._add_causal if self.card.mask == "causal" else self._add_blocks
        add(request)

    def finish(self) -> None:
        """Tell segments and reads what they see."""
        placed = placer(self.num_tokens)
        if self.named.kept:  # documents may see a prefix that is
            for i, segment in enumerate(self.segments):
                self.segments[i] = replace(segment, full=tuple(map(placed, segment.full)))
        for tail in self.tails:
            prefix, *documents = map(placed, [tail.prefix, *tail.documents])
            segment = self.segments[tail.index]
            # Attention does not ask for an order: sorted, the tails of requests that list the same
            # documents see the same spans and are computed together.
            full = joined(sorted([prefix, *documents]))
            self.segments[tail.index] = replace(segment, full=full)
            seen = [prefix, *documents, (segment.start, segment.stop)]
            scored = list(map(placed, tail.scored))
            self._read(tail.request, scored, seen, segment.start - tail.request.tail_start)

    def _add_causal(self, request: EncodedRequest) -> None:
        whole = self._place(request, (0, request.num_tokens), ())
        scored = [(whole[0] + int(a), whole[0] + int(b)) for a, b in request.scored_spans]
        self._read(request, scored, [whole], whole[0])

    def _add_blocks(self, request: EncodedRequest) -> None:
        num_blocks = 1 + request.num_documents
        entries = request.lease.entries if request.lease else [None] * num_blocks
        prefix = self._prefix(request, entries[0])
        documents, scored = [prefix] * request.num_documents, [prefix] * request.num_documents
        for i in by_content(request):
            kept = entries[i + 1]
            known = None if kept is None else self.named.document(kept)
            documents[i], scored[i] = known or self._document(request, i, prefix)
        self._place(request, (request.tail_start, request.num_tokens), ())
        self.tails.append(_Tail(request, len(self.segments) - 1, prefix, documents, scored))

    def _prefix(self, request: EncodedRequest, kept: Kept | None) -> Span:
        if kept is not None:
            return self.named.document(kept)[0]
        span = self._place_once(request, 0, (0, request.num_prefix_tokens), None)
        self._note(request, 0, span, None, (0, 0))
        return span

    def _document(self, request: EncodedRequest, i: int, prefix: Span) -> tuple[Span, Span]:
        """Place a document; return what a tail sees of it, and the scored part of that."""
        start, stop = map(int, request.block_spans[i])
        first, last = map(int, request.scored_spans[i])
        document = self._place_once(request, i + 1, (start, stop), prefix)
        shift = document[0] - start
        tokens, part = None, (first - start, last - start)
        if self.card.tail_stride == 1:
            seen = document, (first + shift, last + shift)
        else:
            tokens, part = kept_tokens(stop - start, part, self.card.tail_stride)
            tokens = tokens + np.int32(document[0])
            span = self.named.tokens((document, first - start, last - start), tokens)
            seen = span, (span[0] + part[0], span[0] + part[1])
        self._note(request, i + 1, document, tokens, part)
        return seen

    def _note(
        self,
        request: EncodedRequest,
        index: int,
        block: Span,
        tokens: NDArray[np.int32] | None,
        scored: Span,
    ) -> None:
        """Remember that block number index of a request, the prefix being 0, may be kept.

        Args:
            tokens: what a tail sees of it; None sees all of the block.
        """
        if request.lease is None or (digest := request.lease.digests[index]) in self.new:
            return
        if tokens is None:
            tokens = np.arange(*block, dtype=np.int32)
        is_cut = index - 1 in request.truncated_documents
        self.new[digest] = NewDocument(digest, block[1] - block[0], tokens, scored, is_cut)

    def _place_once(
        self, request: EncodedRequest, index: int, span: Span, prefix: Span | None
    ) -> Span:
        """Place block number index of a request, or find the equal one already there.

        Args:
            prefix: what a document sees of it; None places the prefix itself.
        """
        full = () if prefix is None else (prefix,)
        is_causal = prefix is None or self.card.document_attention == "causal"
        if not self.card.reusable_documents:
            return self._place(request, span, full, is_causal=is_causal)
        # With their digests, which differ by salt: a pass that is shorter tells of equal documents.
        digest = request.lease.digests[index] if request.lease else b""
        key = prefix, digest, request.token_ids[span[0] : span[1]].tobytes()
        if key not in self.placed:
            self.placed[key] = self._place(request, span, full, is_causal=is_causal)
        return self.placed[key]

    def _place(
        self,
        request: EncodedRequest,
        span: Span,
        full: tuple[Span, ...],
        *,
        is_causal: bool = True,
    ) -> Span:
        start, stop = span
        self.token_ids.append(request.token_ids[start:stop])
        self.position_ids.append(request.position_ids[start:stop])
        placed = self.num_tokens, self.num_tokens + stop - start
        self.segments.append(Segment(*placed, full, is_causal))
        self.num_tokens = placed[1]
        return placed

    def _read(
        self, request: EncodedRequest, scored: list[Span], seen: list[Span], shift: int
    ) -> None:
        signal = request.signal_span[0] + shift, request.signal_span[1] + shift
        context = seen if self.card.normalise_over == "all" else []
        self.reads.append(SpanRead(signal, (*scored, *context)))
