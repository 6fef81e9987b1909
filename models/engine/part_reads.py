"""Names what is read besides, where a request asks for the shares of its documents' parts.

It is read apart from what scores are made of, by a plan of its own, so that asking changes no bit
of a score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockrank_server.kernels.segments import Span
from blockrank_server.kernels.span_lse import SpanRead
from blockrank_server.models.engine.kept_tokens import kept_tokens
from blockrank_server.models.prompt.request import EncodedRequest


@dataclass(frozen=True, slots=True, eq=False)
class PartRead:
    """Names what is read of the parts of one request's documents.

    Attributes:
        request: its place in the batch.
        read: its signal tokens, and the span of keys of each part.
        owners: [M] int64, the document of each part.
        groups: [r] int64, the group of each signal token, the word of the query that it is of.
        num_groups: 1 where shares are not asked for by word.
    """

    request: int
    read: SpanRead
    owners: NDArray[np.int64]
    groups: NDArray[np.int64]
    num_groups: int


def part_reads(
    requests: Sequence[EncodedRequest], reads: Sequence[SpanRead], tail_stride: int
) -> tuple[PartRead, ...]:
    """Return one for each request that asks for the shares of parts.

    Args:
        reads: what scores are made of: of each request, its documents' scored spans come first.
        tail_stride: is the card's.
    """
    found = []
    for i, (request, read) in enumerate(zip(requests, reads, strict=True)):
        if not request.parts:
            continue
        spans: list[Span] = []
        for document, (first, _) in zip(range(request.num_documents), read.spans, strict=False):
            edges_M2 = _part_keys(request, document, tail_stride)
            spans.extend((first + start, first + stop) for start, stop in edges_M2.tolist())
        owners = np.repeat(
            np.arange(request.num_documents), [len(each.spans) for each in request.parts]
        )
        words = request.words
        num_signal_tokens = read.signal[1] - read.signal[0]
        groups = np.zeros(num_signal_tokens, np.int64) if words is None else words.groups
        own_read = SpanRead(read.signal, tuple(spans))
        found.append(PartRead(i, own_read, owners, groups, request.num_word_groups))
    return tuple(found)


def _part_keys(request: EncodedRequest, document: int, tail_stride: int) -> NDArray[np.int64]:
    """Return the span of keys of each part, counted from the document's first scored key.

    With a tail_stride above 1 the tail sees some tokens, and a part may have none of them.
    """
    start, stop = map(int, request.block_spans[document])
    first, last = (int(edge) - start for edge in request.scored_spans[document])
    spans_M2 = request.parts[document].spans
    if tail_stride == 1 or not len(spans_M2):
        return spans_M2.astype(np.int64)
    tokens, (a, b) = kept_tokens(stop - start, (first, last), tail_stride)
    return np.searchsorted(tokens[a:b] - first, spans_M2).astype(np.int64)
