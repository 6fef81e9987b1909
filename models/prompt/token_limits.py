"""Holds a request to its limits of query tokens and positions, whatever kind its card is of."""

from blockrank_server.models.errors import InputTooLongError
from blockrank_server.models.prompt.limits import no_token, too_long
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.prompt.tokenizer import TextTokenizer


def cut_query(
    tokenizer: TextTokenizer, query: str, limit: int, *, truncate: bool
) -> tuple[str, bool]:
    """Return what is kept of a query, and whether it was cut.

    Raises:
        EmptyInputError: nothing of it is a token.
        InputTooLongError: it is over the limit and may not be cut.
    """
    ((kept, num_tokens),) = tokenizer.cut([query], limit)
    if num_tokens == 0:
        raise no_token("query")
    if num_tokens > limit and not truncate:
        raise too_long("query", limit, num_tokens)
    return kept, num_tokens > limit


def check_positions(encoded: EncodedRequest, max_positions: int) -> None:
    """Refuse a request that needs more rotary positions than the checkpoint was made for.

    Raises:
        InputTooLongError: naming how many.
    """
    if (end := int(encoded.position_ids.max()) + 1) > max_positions:
        raise InputTooLongError(
            f"documents and query need {end} positions, the limit is {max_positions}",
            field="documents",
            limit=max_positions,
            value=end,
        )
