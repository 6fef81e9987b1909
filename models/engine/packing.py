"""Lays the requests of a batch on one token axis, without padding: the first step of a batch.

Where a card says documents are reusable, equal prefixes and equal documents of a batch stand there
once: with shared positions their keys and values are the same for every request, to the bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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
    """

    token_ids: NDArray[np.int32]
    position_ids: NDArray[np.int32]
    segments: tuple[Segment, ...]
    reads: tuple[SpanRead, ...]
    num_documents: tuple[int, ...]

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
    return PackedBatch(
        token_ids=np.concatenate(packer.token_ids),
        position_ids=np.concatenate(packer.position_ids),
        segments=tuple(packer.segments),
        reads=tuple(packer.reads),
        num_documents=tuple(request.num_documents for request in requests),
    )


@dataclass
class _Packer:
    card: Card
    token_ids: list[NDArray[np.int32]] = field(default_factory=list)
    position_ids: list[NDArray[np.int32]] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    reads: list[SpanRead] = field(default_factory=list)
    num_tokens: int = 0
    placed: dict[tuple[Span | None, bytes], Span] = field(default_factory=dict)

    def add(self, request: EncodedRequest) -> None:
        if self.card.mask == "causal":
            self._add_causal(request)
        else:
            self._add_blocks(request)

    def _add_causal(self, request: EncodedRequest) -> None:
        whole = self._place(request, (0, request.num_tokens), ())
        scored = [(whole[0] + int(a), whole[0] + int(b)) for a, b in request.scored_spans]
        self._read(request, scored, [whole], whole[0])

    def _add_blocks(self, request: EncodedRequest) -> None:
        prefix = self._place_once(request, (0, request.num_prefix_tokens), None)
        seen = [prefix]
        scored = []
        for block, part in zip(request.block_spans, request.scored_spans, strict=True):
            start, stop = int(block[0]), int(block[1])
            placed = self._place_once(request, (start, stop), prefix)
            seen.append(placed)
            shift = placed[0] - start
            scored.append((int(part[0]) + shift, int(part[1]) + shift))
        span = (request.tail_start, request.num_tokens)
        # Attention does not ask for an order: sorted, the tails of requests that list the same
        # documents see the same spans and are computed together.
        tail = self._place(request, span, _joined(sorted(seen)))
        self._read(request, scored, [*seen, tail], tail[0] - request.tail_start)

    def _place_once(self, request: EncodedRequest, span: Span, prefix: Span | None) -> Span:
        """Place a prefix (prefix = None) or a document, or find the equal one already there."""
        full = () if prefix is None else (prefix,)
        if not self.card.reusable_documents:
            return self._place(request, span, full)
        key = prefix, request.token_ids[span[0] : span[1]].tobytes()
        if key not in self.placed:
            self.placed[key] = self._place(request, span, full)
        return self.placed[key]

    def _place(self, request: EncodedRequest, span: Span, full: tuple[Span, ...]) -> Span:
        start, stop = span
        self.token_ids.append(request.token_ids[start:stop])
        self.position_ids.append(request.position_ids[start:stop])
        placed = self.num_tokens, self.num_tokens + stop - start
        self.segments.append(Segment(*placed, full))
        self.num_tokens = placed[1]
        return placed

    def _read(
        self, request: EncodedRequest, scored: list[Span], seen: list[Span], shift: int
    ) -> None:
        signal = request.signal_span[0] + shift, request.signal_span[1] + shift
        context = seen if self.card.normalise_over == "all" else []
        self.reads.append(SpanRead(signal, (*scored, *context)))


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Merge neighbours among ascending spans; a span given twice stays twice."""
    joined = [spans[0]]
    for start, stop in spans[1:]:
        if start == joined[-1][1]:
            joined[-1] = joined[-1][0], stop
        else:
            joined.append((start, stop))
    return tuple(joined)
