"""Orders the documents of a list by what is in them."""

from blockrank_server.models.prompt.request import EncodedRequest


def by_content(request: EncodedRequest) -> list[int]:
    """Return the indices of the documents, in an order that does not depend on the caller's.

    Sums are rounded in the order of their terms; in bfloat16 that moved a score by up to 0.01 when
    a list was shuffled. Laid out in this order, a list has the same scores however it is given.
    """
    if request.lease is not None:
        keys = list(request.lease.digests[1:])
    else:
        ids = request.token_ids
        keys = [ids[start:stop].tobytes() for start, stop in request.block_spans.tolist()]
    return sorted(range(len(keys)), key=keys.__getitem__)
