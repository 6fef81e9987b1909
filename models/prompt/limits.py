"""Holds a request to its limits of tokens."""

from blockrank_server.models.errors import EmptyInputError, InputError, InputTooLongError


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
