"""Holds requests to limits of tokens and positions, in the same words for every kind of card."""

from blockrank_server.models.errors import EmptyInputError, InputError, InputTooLongError
from blockrank_server.models.prompt.request import EncodedRequest
from blockrank_server.models.prompt.tokenizer import TextTokenizer


def lowered(limit: int, asked: int | None, field: str) -> int:
    """Return the lower of a card's limit and the request's.

    Raises:
        InputError: the request's is below 1.
    """
    if asked is None:
        return limit
    if asked < 1:
        raise InputError(f"{field} is {asked}, at least 1 is needed", field=field, value=asked)
    return min(limit, asked)


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
        raise EmptyInputError(
            "query has no token: the checkpoint's vocabulary holds none of its characters",
            field="query",
        )
    if num_tokens > limit and not truncate:
        raise too_long("query", limit, num_tokens)
    return kept, num_tokens > limit


def too_long(field: str, limit: int, value: int) -> InputTooLongError:
    """Make the error of a text that is over its limit and may not be cut."""
    return InputTooLongError(
        f"{field} has at least {value} tokens, the limit is {limit} and truncation is off",
        field=field,
        limit=limit,
        value=value,
    )


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
