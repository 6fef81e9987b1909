"""Reads a body of JSON as far as to the dialect that it is written in."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from blockrank_server.service.api.broken_text import Place
from blockrank_server.service.api.request_body import read_json
from blockrank_server.service.dialects.base import Dialect
from blockrank_server.service.dialects.registry import dialect_of
from blockrank_server.service.dialects.spellings import without_null_spellings


class DialectBody(NamedTuple):
    """Holds the fields of a body, its dialect, and where it held text that is not Unicode."""

    fields: Mapping[str, Any]
    dialect: type[Dialect]
    broken: Sequence[Place]


def read_body_of_dialect(
    raw: bytes, headers: Mapping[str, str], dialects: Sequence[type[Dialect]]
) -> DialectBody:
    """Parse a body, and find its dialect among those that are spoken on its path.

    Raises:
        ServiceError: the body is no JSON object, or of no dialect.
    """
    body = read_json(raw)
    fields = without_null_spellings(body.fields)
    return DialectBody(fields, dialect_of(fields, headers, dialects), body.broken)
