"""A made-up request that takes every path of the kernels."""

from blockrank_server.models.prompt import Prompt
from blockrank_server.models.request import EncodedRequest

# Twice the keys from which a tail's keys are split, four times those from which a span is.
_LONG_TOKENS = 2048
# {number} and the document's own have more digits as they grow.
_DIGITS = 8


def long_request(prompt: Prompt, num_tokens: int | None) -> EncodedRequest:
    """A request of the longest documents the card allows, as many as make up the tokens.

    Long enough that the tail's keys are split and merged, and the spans' too where a card's spans
    can be so long. Shorter where the card's documents or the checkpoint's positions do not suffice.

    Args:
        prompt: of the card.
        num_tokens: of the documents together; None or less than 2,048 is 2,048.
    """
    limits = prompt.card.limits
    longest, count = limits.max_document_tokens, limits.max_documents
    if prompt.card.positions.documents == "sequential":
        longest = min(longest, prompt.max_positions // 4)
        alone = _encode(prompt, longest, 1).num_tokens + _DIGITS
        count = max(1, min(count, prompt.max_positions // alone))
    return _encode(prompt, longest, min(count, -(-max(num_tokens or 0, _LONG_TOKENS) // longest)))


def _encode(prompt: Prompt, longest: int, count: int) -> EncodedRequest:
    words = "word " * longest
    # All different: equal ones may be computed once.
    documents = [f"{i} {words}" for i in range(count)]
    return prompt.encode("warm up", documents, max_document_tokens=longest)
