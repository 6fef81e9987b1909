"""Says who sees what in a batch of a yes/no reranker, whose documents follow their prefix:

tokens   prefix | document 0 | document 1 | prefix of the next request | ...
"""

from collections.abc import Sequence
from itertools import accumulate

from blockrank_server.kernels.segments import Segment
from blockrank_server.models.prompt.request import EncodedRequest


def pair_segments(requests: Sequence[EncodedRequest]) -> tuple[Segment, ...]:
    """Let each document see the prefix and itself. Segments that see others are documents."""
    starts = accumulate((request.num_tokens for request in requests), initial=0)
    segments: list[Segment] = []
    for first, request in zip(starts, requests, strict=False):
        prefix = first, first + request.num_prefix_tokens
        segments.append(Segment(*prefix))
        segments.extend(
            Segment(first + start, first + stop, (prefix,))
            for start, stop in request.block_spans.tolist()
        )
    return tuple(segments)
