"""Mends text that is not Unicode: halves of surrogate pairs, and bytes that are not UTF-8.

Clients cut strings in the middle of an emoji, and crawlers keep bytes as they came. One such
document in a hundred is no reason to refuse the others: U+FFFD takes its place, as in browsers.
"""

import re
import secrets
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import orjson

from blockrank_server.service.api.body_faults import kind_of, reason_of
from blockrank_server.service.errors import BadJsonError

# Stands for a U+FFFD that was sent. Nobody can send it by chance, or knows it.
_SENT = f"\ue000{secrets.token_hex(8)}"
_REPLACEMENT = "\ufffd"
_MAX_LISTED = 20  # fields in a warning

# UTF-8 has no surrogates; encoders that let them through write three bytes each.
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
# An escaped backslash and a whole pair are matched too, so that no half is found inside of them.
_ESCAPE = re.compile(
    rb"\\(?:\\|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|(?P<sent>u[fF]{3}[dD]))"
)


class Place(NamedTuple):
    """Tells where broken text was: a field of the body, and the entry if the field is a list."""

    field: str
    entry: int | None = None


class JsonBody(NamedTuple):
    """Holds a parsed body.

    Attributes:
        fields: without broken text.
        broken: where there was some.
    """

    fields: dict[str, Any]
    broken: Sequence[Place] = ()


def parse_broken(raw: bytes) -> JsonBody:
    """Parse a body that orjson refuses, with U+FFFD in place of what is not Unicode.

    Raises:
        BadJsonError: it is no JSON object for another reason, which the error tells.
    """
    try:
        orjson.loads(_replaced(raw, sent=_REPLACEMENT))
    except orjson.JSONDecodeError as error:
        raise BadJsonError(reason_of(raw, error)) from error
    found = orjson.loads(_replaced(raw, sent=_SENT))
    if not isinstance(found, dict):
        raise BadJsonError(f"body is not a JSON object but a JSON {kind_of(found)}")
    fields: dict[str, Any] = {}
    broken: list[Place] = []
    for name, value in found.items():
        field = name.replace(_SENT, _REPLACEMENT)
        is_list = isinstance(value, list)
        mended = [_mended(entry) for entry in (value if is_list else [value])]
        entries = [entry for entry, _ in mended]
        fields[field] = entries if is_list else entries[0]
        broken += [Place(field, i if is_list else None) for i, (_, bad) in enumerate(mended) if bad]
        if _REPLACEMENT in name:
            broken.append(Place(field))
    return JsonBody(fields, broken)


def broken_warning(broken: Sequence[Place], known: Collection[str]) -> str:
    """Name the places in a sentence, as documents[3]; fields nobody knows are not named."""
    places = dict.fromkeys(place for place in broken if place.field in known)
    named = [field if at is None else f"{field}[{at}]" for field, at in places]
    listed = named[:_MAX_LISTED] + ["..."] * (len(named) > _MAX_LISTED)
    if len(places) < len(set(broken)):
        listed.append("fields that are ignored")
    return f"text that is not Unicode was replaced by U+FFFD in {', '.join(listed)}"


def _replaced(raw: bytes, *, sent: str) -> str:
    """Decode a body, with U+FFFD for what is broken, and `sent` for each U+FFFD that was sent."""
    mark = sent.encode()

    def escape(match: re.Match[bytes]) -> bytes:
        if match["lone"] is not None:
            return rb"\ufffd"
        return match[0] if match["sent"] is None else mark

    raw = _SURROGATE.sub(_REPLACEMENT.encode(), raw.replace(_REPLACEMENT.encode(), mark))
    return _ESCAPE.sub(escape, raw).decode(errors="replace")


def _mended(value: Any) -> tuple[Any, bool]:
    """Change the value in place to have each U+FFFD that was sent; tell whether it has others."""
    is_broken = False
    whole = [value]
    containers: list[Any] = [whole]  # no recursion: JSON may be deeper than the interpreter
    while containers:
        container = containers.pop()
        if isinstance(container, dict):
            names = "".join(container)
            is_broken |= _REPLACEMENT in names
            if _SENT in names:
                items = list(container.items())
                container.clear()
                container |= {name.replace(_SENT, _REPLACEMENT): inner for name, inner in items}
            entries = list(container.items())
        else:
            entries = list(enumerate(container))
        for at, inner in entries:
            if isinstance(inner, str):
                is_broken |= _REPLACEMENT in inner
                container[at] = inner.replace(_SENT, _REPLACEMENT)
            elif isinstance(inner, dict | list):
                containers.append(inner)
    return whole[0], is_broken
