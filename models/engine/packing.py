"""Lays the requests of a batch on one token axis, without padding: the first step of a batch.

Where a card says documents are reusable, equal prefixes and equal documents of a batch stand there
once: with shared positions their keys and values are the same for every request, to the bit.

Where it has a tail_stride above 1, what the tails see of the documents is named once more behind
the tokens, side by side, so that it is one span of keys (kernels/key_rows.py):

    tokens   prefix | document 0 | document 1 | tail
    keys     prefix | document 0 | document 1 | tail | some of document 0 | some of document 1
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from blockrank_server.kernels.key_rows import KeyRows
from blockrank_server.kernels.segments import Segment, Span
from blockrank_server.kernels.span_lse import SpanRead
from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.prompt.request import EncodedRequest


@dataclass(frozen=True, slots=True, eq=False)
class PackedBatch:
    """A batch as the engine takes it.

    Attributes:
        token_ids: [T] int32.
        position_ids: [T] int32 rotary positions.
        segments: cover the T tokens, and say who sees what.
        reads: one for each request: its documents' scored spans, then, where the card normalises
            over everything, the spans its signal tokens see.
        num_documents: one for each request.
        key_rows: says which tokens the keys of segments and reads are; None: those of their number.
    """

    token_ids: NDArray[np.int32]
    position_ids: NDArray[np.int32]
    segments: tuple[Segment, ...]
    reads: tuple[SpanRead, ...]
    num_documents: tuple[int, ...]
    key_rows: KeyRows | None = None

    @property
    def num_tokens(self) -> int:
        """Count T, the tokens every linear layer computes."""
        return len(self.token_ids)


def pack(requests: Sequence[EncodedRequest], card: Card) -> PackedBatch:
    """Lay requests one after another on one token axis.

    Raises:
        ValueError: there are no requests.
    """
    if not requests:
        raise ValueError("a batch needs at least one request")
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
        key_rows=packer.key_rows(),
    )


@dataclass(frozen=True, slots=True)
class _Tail:
    """A tail whose tokens have their place, and the keys that it sees.

    Keys of documents are counted from the first behind the tokens where the card has a stride: how
    many tokens there are is known when the last request has its place.
    """

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
    placed: dict[tuple[Span | None, bytes], Span] = field(default_factory=dict)
    tails: list[_Tail] = field(default_factory=list)
    thinned: dict[tuple[Span, Span], tuple[Span, Span]] = field(default_factory=dict)
    kept: list[NDArray[np.int32]] = field(default_factory=list)
    num_kept: int = 0

    def add(self, request: EncodedRequest) -> None:
        if self.card.mask == "causal":
            self._add_causal(request)
        else:
            self._add_blocks(request)

    def finish(self) -> None:
        """Tell the tails what they see."""
        first = self.num_tokens if self.card.tail_stride > 1 else 0
        for tail in self.tails:
            documents = [(first + start, first + stop) for start, stop in tail.documents]
            scored = [(first + start, first + stop) for start, stop in tail.scored]
            segment = self.segments[tail.index]
            # Attention does not ask for an order: sorted, the tails of requests that list the same
            # documents see the same spans and are computed together.
            full = _joined(sorted([tail.prefix, *documents]))
            self.segments[tail.index] = replace(segment, full=full)
            seen = [tail.prefix, *documents, (segment.start, segment.stop)]
            self._read(tail.request, scored, seen, segment.start - tail.request.tail_start)

    def key_rows(self) -> KeyRows | None:
        if self.card.tail_stride == 1:
            return None
        tokens = np.arange(self.num_tokens, dtype=np.int32)
        return KeyRows(self.num_tokens, np.concatenate([tokens, *self.kept]))

    def _add_causal(self, request: EncodedRequest) -> None:
        whole = self._place(request, (0, request.num_tokens), ())
        scored = [(whole[0] + int(a), whole[0] + int(b)) for a, b in request.scored_spans]
        self._read(request, scored, [whole], whole[0])

    def _add_blocks(self, request: EncodedRequest) -> None:
        prefix = self._place_once(request, (0, request.num_prefix_tokens), None)
        documents, scored = [], []
        for block, part in zip(request.block_spans, request.scored_spans, strict=True):
            start, stop = int(block[0]), int(block[1])
            document = self._place_once(request, (start, stop), prefix)
            shift = document[0] - start
            seen = document, (int(part[0]) + shift, int(part[1]) + shift)
            if self.card.tail_stride > 1:
                seen = self._thin(*seen)
            documents.append(seen[0])
            scored.append(seen[1])
        self._place(request, (request.tail_start, request.num_tokens), ())
        self.tails.append(_Tail(request, len(self.segments) - 1, prefix, documents, scored))

    def _place_once(self, request: EncodedRequest, span: Span, prefix: Span | None) -> Span:
        """Place a prefix (prefix = None) or a document, or find the equal one already there."""
        full = () if prefix is None else (prefix,)
        is_causal = prefix is None or self.card.document_attention == "causal"
        if not self.card.reusable_documents:
            return self._place(request, span, full, is_causal=is_causal)
        key = prefix, request.token_ids[span[0] : span[1]].tobytes()
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

    def _thin(self, document: Span, scored: Span) -> tuple[Span, Span]:
        """Name the tokens a tail sees of a document as keys; return all, and the scored ones."""
        key = document, scored
        if key not in self.thinned:
            start, stop = document
            part = scored[0] - start, scored[1] - start
            tokens, (first, last) = _kept_tokens(stop - start, part, self.card.tail_stride)
            before = self.num_kept
            self.num_kept += len(tokens)
            self.thinned[key] = (before, self.num_kept), (before + first, before + last)
            self.kept.append(tokens + np.int32(start))
        return self.thinned[key]

    def _read(
        self, request: EncodedRequest, scored: list[Span], seen: list[Span], shift: int
    ) -> None:
        signal = request.signal_span[0] + shift, request.signal_span[1] + shift
        context = seen if self.card.normalise_over == "all" else []
        self.reads.append(SpanRead(signal, (*scored, *context)))


@lru_cache(maxsize=1024)  # documents have few lengths
def _kept_tokens(num_tokens: int, scored: Span, stride: int) -> tuple[NDArray[np.int32], Span]:
    """List what a tail sees of a document: the last of every stride tokens and of the block.

    Where none of these is scored, the last scored token is seen, too, if there is any.

    Returns:
        The tokens, counted from the block's first, and the span of those among them that are
        scored.
    """
    is_kept = np.zeros(num_tokens, np.bool_)
    is_kept[stride - 1 :: stride] = True
    is_kept[-1:] = True
    first, last = scored
    if not is_kept[first:last].any():
        is_kept[max(first, last - 1) : last] = True
    tokens = np.flatnonzero(is_kept).astype(np.int32)
    return tokens, (int(np.searchsorted(tokens, first)), int(np.searchsorted(tokens, last)))


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Merge neighbours among ascending spans; a span given twice stays twice."""
    joined = [spans[0]]
    for start, stop in spans[1:]:
        if start == joined[-1][1]:
            joined[-1] = joined[-1][0], stop
        else:
            joined.append((start, stop))
    return tuple(joined)
