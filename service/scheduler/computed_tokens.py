"""Counts the tokens of requests that one batch has to compute."""

from collections.abc import Iterable

from blockrank_server.models.prompt.request import EncodedRequest


def num_computed_tokens(requests: Iterable[EncodedRequest]) -> int:
    """Count equal prefixes and equal documents once, as a batch may compute them.

    Never more than are computed; fewer, where the card does not let documents be computed once.
    What is known from a batch before, whose token ids are -1, does not count.
    """
    num_tail_tokens = 0
    lengths: dict[bytes, int] = {}
    for request in requests:
        num_tail_tokens += request.num_tokens - request.tail_start
        for start, stop in ((0, request.num_prefix_tokens), *request.block_spans.tolist()):
            if start < stop and request.token_ids[start] >= 0:
                lengths[request.token_ids[start:stop].tobytes()] = stop - start
    return num_tail_tokens + sum(lengths.values())
