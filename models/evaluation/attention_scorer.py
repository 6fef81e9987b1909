"""Scores many lists through the ranker that serves, in batches that share documents."""

from collections.abc import Iterator, Sequence

from blockrank_server.models.checkpoint.any_card import PackedCard
from blockrank_server.models.data.shortlists import Shortlist
from blockrank_server.models.evaluation.scorer import Progress, Scores
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.ranker import Ranker

_BYTES_PER_TOKEN = 4  # int32 token ids


class AttentionScorer:
    """Scores lists by attention reading, as the server does.

    Args:
        max_tokens: limits a batch; a larger list goes alone.
    """

    def __init__(self, ranker: Ranker, max_tokens: int) -> None:
        self._ranker = ranker
        self._max_tokens = max_tokens

    def __call__(self, lists: Sequence[Shortlist], progress: Progress) -> list[Scores]:
        """Return the scores of every list, in the lists' order.

        Raises:
            InputError: a list is beyond the card's limits.
        """
        encoded = [self._ranker.encode(x.query, x.documents) for x in lists]
        scores: dict[int, Scores] = {}
        for batch in batches(encoded, self._max_tokens, self._ranker.card):
            rows = self._ranker.score([encoded[i] for i in batch])
            scores.update(zip(batch, rows, strict=True))
            progress(len(batch))
        return [scores[i] for i in range(len(lists))]


def batches(
    encoded: Sequence[EncodedRequest], max_tokens: int, card: PackedCard
) -> Iterator[list[int]]:
    """Yield indices of requests that go together: those that share reusable documents, if any are.

    Each batch grows by the request that adds the fewest tokens of documents, up to max_tokens.
    """
    left = dict(enumerate(encoded))
    blocks = {i: _blocks(i, request, card) for i, request in left.items()}
    batch: list[int] = []
    placed: set[bytes] = set()
    size = 0
    while left:
        new = {i: sum(map(len, blocks[i] - placed)) // _BYTES_PER_TOKEN for i in left}
        nearest = min(left, key=new.__getitem__) if card.reusable_documents else next(iter(left))
        request = left[nearest]
        added = new[nearest] + request.num_tokens - request.tail_start
        if batch and size + added > max_tokens:
            yield batch
            batch, placed, size = [], set(), 0
            continue
        batch.append(nearest)
        size += added
        placed |= blocks[nearest]
        del left[nearest]
    if batch:
        yield batch


def _blocks(index: int, request: EncodedRequest, card: PackedCard) -> set[bytes]:
    """Return what is computed for this request before its tail, by what may be shared."""
    ids = request.token_ids
    if not card.reusable_documents:  # nothing: the index makes it unlike any other
        return {ids[: request.tail_start].tobytes() + b"%d" % index}
    return {ids[a:b].tobytes() for a, b in request.block_spans}
