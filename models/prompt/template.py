"""Fills a card's templates; a value's own braces are text."""

import re
from collections.abc import Mapping
from typing import NamedTuple

_PLACEHOLDER = re.compile(r"\{(query|summary|content|number)\}")


class Filled(NamedTuple):
    """Holds a filled template and where the values stand in it, as character spans."""

    text: str
    spans: list[tuple[str, int, int]]


def fill(template: str, values: Mapping[str, str]) -> Filled:
    """Put values in place of {name}; names without a value stay as they are."""
    text, spans, done = "", [], 0
    for match in _PLACEHOLDER.finditer(template):
        if (value := values.get(match[1])) is None:
            continue
        text += template[done : match.start()]
        spans.append((match[1], len(text), len(text) + len(value)))
        text += value
        done = match.end()
    return Filled(text + template[done:], spans)


def overlapping(offsets: list[tuple[int, int]], start: int, stop: int) -> tuple[int, int]:
    """Find the first token that overlaps characters start .. stop, and the one after the last.

    Tokens of no characters (half of a code point) carry their code point's offsets, so they count.
    """
    inside = [i for i, (a, b) in enumerate(offsets) if a < stop and b > start]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)
