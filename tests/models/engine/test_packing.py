"""Who sees whom in a packed batch, token by token, against the definition of the card's fields."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from blockrank_server.kernels.segments import Segment, Span
from blockrank_server.models.checkpoint.card import BUILT_IN, Card, load_card
from blockrank_server.models.engine.packing import PackedBatch, pack
from blockrank_server.models.prompt.request import EncodedRequest

CARD = load_card(BUILT_IN / "default.json")
# Documents by number: token ids of their own, up to 12 of them, and none.
POOL = [np.arange(100 * i, 100 * i + i % 13, dtype=np.int32) for i in range(1, 15)]
PREFIX = np.array([7, 8, 9], np.int32)


@st.composite
def cards(draw: st.DrawFn) -> Card:
    return CARD.model_copy(
        update={
            "tail_stride": draw(st.sampled_from([1, 2, 4, 10])),
            "document_attention": draw(st.sampled_from(["causal", "full"])),
            "normalise_over": draw(st.sampled_from(["documents", "all"])),
            "reusable_documents": draw(st.booleans()),
        }
    )


@st.composite
def lists(draw: st.DrawFn) -> EncodedRequest:
    """A request on documents of the pool, each scored as a whole or in a part of its own."""
    documents = [POOL[i] for i in draw(st.lists(st.integers(0, 13), min_size=1, max_size=6))]
    is_scored_whole = draw(st.booleans())
    tail = np.arange(50, 50 + draw(st.integers(1, 4)), dtype=np.int32)
    blocks, scored, start = [], [], len(PREFIX)
    for ids in documents:
        part = 0, len(ids)
        if not is_scored_whole:
            part = len(ids) // 3, len(ids) * 2 // 3
        blocks.append((start, start + len(ids)))
        scored.append((start + part[0], start + part[1]))
        start += len(ids)
    own = [3 + np.arange(len(ids), dtype=np.int32) for ids in documents]
    return EncodedRequest(
        token_ids=np.concatenate([PREFIX, *documents, tail]),
        position_ids=np.concatenate([np.arange(3), *own, 99 + np.arange(len(tail))]).astype("i4"),
        num_prefix_tokens=3,
        tail_start=start,
        block_spans=np.array(blocks, np.int32),
        scored_spans=np.array(scored, np.int32),
        signal_span=(start, start + len(tail)),
    )


def seen_by_the_tail(block: Span, scored: Span, stride: int) -> set[int]:
    start, stop = block
    kept = {t for t in range(start, stop) if (t - start + 1) % stride == 0 or t == stop - 1}
    if scored[0] < scored[1] and not kept & set(range(*scored)):
        kept.add(scored[1] - 1)
    return kept


class Tokens:
    """What keys and tokens of a batch are: (token id, position), counted."""

    def __init__(self, batch: PackedBatch) -> None:
        self._tokens = list(zip(batch.token_ids.tolist(), batch.position_ids.tolist(), strict=True))
        rows = range(batch.num_tokens) if batch.key_rows is None else batch.key_rows.rows_S.tolist()
        self._keys = [self._tokens[row] for row in rows]

    def of(self, spans: Iterable[Span]) -> Counter[tuple[int, int]]:
        return Counter(key for start, stop in spans for key in self._keys[start:stop])

    def seen(self, segment: Segment, token: int) -> Counter[tuple[int, int]]:
        own_stop = token + 1 if segment.is_causal else segment.stop
        return self.of([*segment.full, (segment.start, own_stop)])


def counted(request: EncodedRequest, tokens: Iterable[int]) -> Counter[tuple[int, int]]:
    return Counter((int(request.token_ids[t]), int(request.position_ids[t])) for t in tokens)


@settings(deadline=None, max_examples=300)
@given(card=cards(), batch=st.lists(lists(), min_size=1, max_size=3))
def test_tails_see_and_read_the_kept_tokens(card: Card, batch: list[EncodedRequest]) -> None:
    packed = pack(batch, card)
    tokens, segments = Tokens(packed), {segment.start: segment for segment in packed.segments}
    for request, read in zip(batch, packed.reads, strict=True):
        blocks, scored = request.block_spans.tolist(), request.scored_spans.tolist()
        kept = [
            seen_by_the_tail(*each, card.tail_stride) for each in zip(blocks, scored, strict=True)
        ]
        before = [*range(3), *(t for each in kept for t in each)]
        tail = range(request.tail_start, request.num_tokens)
        for token, packed_token in zip(tail, range(*read.signal), strict=True):
            expected = counted(request, [*before, *range(request.tail_start, token + 1)])
            assert tokens.seen(segments[read.signal[0]], packed_token) == expected
        for span, part, each in zip(read.spans, scored, kept, strict=False):
            assert tokens.of([span]) == counted(request, each & set(range(*part)))
        context = tokens.of(read.spans[len(blocks) :])
        assert context == (
            counted(request, [*before, *tail]) if card.normalise_over == "all" else Counter()
        )


@settings(deadline=None, max_examples=300)
@given(card=cards(), batch=st.lists(lists(), min_size=1, max_size=3))
def test_documents_see_the_prefix_and_themselves(card: Card, batch: list[EncodedRequest]) -> None:
    packed = pack(batch, card)
    tokens = Tokens(packed)
    found: dict[bytes, list[Segment]] = {}
    for segment in packed.segments:
        ids = packed.token_ids[segment.start : segment.stop].tobytes()
        found.setdefault(ids, []).append(segment)
    is_full = card.document_attention == "full"
    for request in batch:
        for start, stop in request.block_spans.tolist():
            placed = found[request.token_ids[start:stop].tobytes()]
            if card.reusable_documents and start < stop:
                assert len(placed) == 1
            for segment in placed:
                for i in range(stop - start):
                    own = range(start, stop if is_full else start + i + 1)
                    expected = counted(request, [*range(3), *own])
                    assert tokens.seen(segment, segment.start + i) == expected
