"""Scores made-up requests before the first caller's: one takes every path, two are timed.

On CUDA a matrix product takes another kernel for another number of tokens, which is loaded when it
is first needed; so requests of a ladder of lengths are scored there.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.prompt.encoder import AnyEncoder
from blockrank_server.models.prompt.prompt_encoder import Find
from blockrank_server.models.prompt.request import EncodedRequest

# Twice the keys from which a tail's keys are split, four times those from which a span is.
_LONG_TOKENS = 2048
# Tokens of each of eight documents: enough for a CPU to show what a token costs.
_MEDIUM_TOKENS = 64
# Tokens of each of eight known documents: reading fewer would take no time beside the rest.
_KNOWN_TOKENS = 256
# {number} and the document's own have more digits as they grow.
_DIGITS = 8
_NUM_TIMED = 3
# A pass that takes so long averages what disturbs it, and a start should not take minutes.
_MAX_TIMED_S = 2.0


class TimedPass(NamedTuple):
    """Says how long one forward pass took."""

    num_tokens: int
    seconds: float


class TimedKnownPass(NamedTuple):
    """Says how long one forward pass took whose documents were known."""

    num_computed_tokens: int
    num_known_tokens: int
    seconds: float


TimedPasses = tuple[TimedPass, TimedPass, TimedKnownPass | None]


def warm_up(
    score: Callable[[Sequence[EncodedRequest]], Any],
    encoder: AnyEncoder,
    num_tokens: int | None,
    find: Find | None = None,
    capture: Callable[[], bool] | None = None,
    *,
    has_kernels: bool,
) -> TimedPasses:
    """Score made-up requests until nothing is left to set up, then time two or three.

    Args:
        score: returns when the scores of a batch are there.
        num_tokens: the documents' of a long request; only kernels need it.
        find: looks for documents that are kept, where any are.
        has_kernels: says that Triton compiles a kernel when it is first needed.
        capture: captures graphs, and says whether there are any; a pass without comes first.

    Returns:
        A pass over few tokens, and one over many; and one of known documents, where any are kept.
    """
    short = encoder.encode("warm up", ["A short document.", "Another one, of a few more words."])
    large = _encode(encoder, min(_MEDIUM_TOKENS, encoder.card.limits.max_document_tokens), 8)
    score([short])
    if capture is not None and capture():
        score([short])
    if has_kernels:
        large = long_request(encoder, num_tokens)
        score([large])
        frame = short.num_tokens - (short.tail_start - short.num_prefix_tokens)
        for rung in ladder(frame, large.num_tokens):
            score([_encode_tokens(encoder, rung - frame)])
    few, many = _timed(score, short), _timed(score, large)
    return few, many, None if find is None else _timed_known(score, encoder, find)


def ladder(least: int, most: int) -> list[int]:
    """List 64, 96, 128, 192, 256, ... tokens, each two steps twice as many, between two bounds."""
    rungs = [step << i for i in range(most.bit_length()) for step in (64, 96)]
    return [rung for rung in rungs if least < rung < most]


def _timed(score: Callable[[Sequence[EncodedRequest]], Any], request: EncodedRequest) -> TimedPass:
    """Time a request up to three times and keep the fastest: the machine may be busy beside it."""
    fastest_s, total_s = math.inf, 0.0
    for _ in range(_NUM_TIMED):
        started_s = time.perf_counter()
        score([request])
        seconds = time.perf_counter() - started_s
        fastest_s, total_s = min(fastest_s, seconds), total_s + seconds
        if total_s > _MAX_TIMED_S:
            break
    return TimedPass(request.num_tokens, fastest_s)


def _timed_known(
    score: Callable[[Sequence[EncodedRequest]], Any], encoder: AnyEncoder, find: Find
) -> TimedKnownPass:
    longest = min(_KNOWN_TOKENS, encoder.card.limits.max_document_tokens)
    for _ in range(2):  # the second time it takes every path of known documents
        score([_encode(encoder, longest, 8, find)])
    known = _encode(encoder, longest, 8, find)
    seconds = _timed(score, known).seconds
    return TimedKnownPass(known.num_computed_tokens, known.num_known_tokens, seconds)


def long_request(encoder: AnyEncoder, num_tokens: int | None) -> EncodedRequest:
    """Make a request of the longest documents the card allows, as many as make up the tokens.

    Long enough that the tail's keys are split and merged, and the spans' too where a card's spans
    can be so long. Shorter where the card's documents or the checkpoint's positions do not suffice.

    Args:
        num_tokens: the documents' together; less than 2,048 is 2,048, and None as many as leave
            the tail 2,048 keys.
    """
    card = encoder.card
    num_tokens = num_tokens or _LONG_TOKENS * (card.tail_stride if isinstance(card, Card) else 1)
    return _encode_tokens(encoder, max(num_tokens, _LONG_TOKENS))


def _encode_tokens(encoder: AnyEncoder, num_tokens: int) -> EncodedRequest:
    """Encode documents of so many tokens together, as long as may be; at least one of one word."""
    card, limits = encoder.card, encoder.card.limits
    longest, count = limits.max_document_tokens, limits.max_documents
    if isinstance(card, Card) and card.positions.documents == "sequential":
        longest = min(longest, encoder.max_positions // 4)
        alone = _encode(encoder, longest, 1).num_tokens + _DIGITS
        count = max(1, min(count, encoder.max_positions // alone))
    num = -(-num_tokens // longest)
    return _encode(encoder, min(longest, -(-num_tokens // num)), min(count, num))


def _encode(
    encoder: AnyEncoder, longest: int, count: int, find: Find | None = None
) -> EncodedRequest:
    words = "word " * longest
    # All different: equal ones may be computed once.
    documents = [f"{i} {words}" for i in range(count)]
    return encoder.encode("warm up", documents, max_document_tokens=longest, find=find)
