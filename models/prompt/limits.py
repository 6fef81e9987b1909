"""Holds a request to its limits of tokens and positions, and to the fields that its card has."""

from blockrank_server.models.errors import EmptyInputError, InputError, InputTooLongError
from blockrank_server.models.prompt.request import EncodedRequest, check_text
from blockrank_server.models.prompt.tokenizer import TextTokenizer


def lowered(limit: int, asked: int | None, field: str) -> int:
    """Return the limit in force where a request asks for another.

    Raises:
        InputError: it asks for less than 1.
    """
    if asked is None:
        return limit
    if asked < 1:
        raise InputError(f"{field} is {asked}, at least 1 is needed", field=field, value=asked)
    return min(limit, asked)


def no_token(field: str) -> EmptyInputError:
    """Say that nothing of a field can be read."""
    return EmptyInputError(
        f"{field} has no token: the checkpoint's vocabulary holds none of its characters",
        field=field,
    )


def too_long(field: str, limit: int, value: int) -> InputTooLongError:
    """Say that a field would have to be cut, and may not be.

    Args:
        value: the tokens it has at least.
    """
    return InputTooLongError(
        f"{field} has at least {value} tokens, the limit is {limit} and truncation is off",
        field=field,
        limit=limit,
        value=value,
    )


def check_blank(text: str, field: str, card_name: str) -> None:
    """Refuse a text for which the card's prompt has no place.

    Raises:
        InputError: it is not blank, or not text.
    """
    check_text(text, field)
    if text.strip():
        raise InputError(f"the prompt of {card_name} has no {field}", field=field)


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


def instruction_of(tokenizer: TextTokenizer, given: str, limit: int) -> str:
    """Return an instruction without the white space around it, and never cut; blank is empty.

    Raises:
        InputError: it is not text.
        InputTooLongError: it is over the limit.
    """
    check_text(given, "instruction")
    if not (text := given.strip()):
        return ""
    ((_, num_tokens),) = tokenizer.cut([text], limit)
    if num_tokens > limit:
        raise InputTooLongError(
            f"instruction has at least {num_tokens} tokens, the limit is {limit}",
            field="instruction",
            limit=limit,
            value=num_tokens,
        )
    return text


def check_positions(encoded: EncodedRequest, max_positions: int) -> None:
    """Refuse a request that needs more rotary positions than the checkpoint was made for.

    Raises:
        InputTooLongError: naming how many.
    """
    if (end := int(encoded.position_ids.max()) + 1) > max_positions:
        raise InputTooLongError(
            f"documents and query need {end} positions, the limit is {max_positions}: send fewer, "
            "or less of each",
            field="documents",
            limit=max_positions,
            value=end,
        )
