"""Fills a card's templates; a value's own braces are text.

Axes: T = tokens of a filled template.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockrank_server.models.checkpoint.prompt_template import PromptTemplate
from blockrank_server.models.checkpoint.yes_no_card import PairPrompt

_PLACEHOLDER = re.compile(r"\{(query|summary|instruction|content|number|title|text)\}")


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


def fill_content(prompt: PromptTemplate | PairPrompt, title: str, text: str) -> Filled:
    """Make a document's content of its title and text, without the white space around it."""
    template = prompt.content if title else prompt.content_without_title
    filled, spans = fill(template, {"title": title, "text": text})
    start, content = len(filled) - len(filled.lstrip()), filled.strip()
    # White space that the caller's text begins with is not there any more: it starts before 0.
    return Filled(content, [(name, a - start, b - start) for name, a, b in spans])


def characters_in(
    text: str,
    offsets: Sequence[tuple[int, int]] | NDArray[np.int32],
    spans: Sequence[tuple[int, int]],
) -> NDArray[np.int32]:
    """Say for which characters of a value each token of a filled template stands.

    A token belongs where its first character is that is not white space: one may hold the space
    before a word, and one a full stop with the line breaks behind it.

    Args:
        text: is the filled template.
        offsets: of its n tokens, in characters.
        spans: where the value stands in the text.

    Returns:
        [n, 2] that first character, counted from the value's own first, and the one after the
        token's last; -1, -1 for tokens that belong to the template.
    """
    found_T2 = np.full((len(offsets), 2), -1, np.int32)
    starts_T, stops_T = np.array(offsets, np.int32).reshape(-1, 2).T
    is_word = ~np.fromiter(map(str.isspace, text), np.bool_, len(text))
    # Of each character the next one that is not white space, itself maybe.
    next_word = np.append(np.where(is_word, np.arange(len(text)), len(text)), len(text))
    next_word = np.minimum.accumulate(next_word[::-1])[::-1]
    first_T = next_word[starts_T]
    first_T = np.where(first_T < stops_T, first_T, starts_T)
    for start, stop in spans:
        is_inside = (start <= first_T) & (first_T < stop)
        ends_T = np.minimum(stops_T, stop)
        found_T2[is_inside] = np.stack([first_T, ends_T], axis=1)[is_inside] - start
    return found_T2


def overlapping(offsets: list[tuple[int, int]], start: int, stop: int) -> tuple[int, int]:
    """Find the first token that overlaps characters start .. stop, and the one after the last.

    Tokens of no characters (half of a code point) carry their code point's offsets, so they count.
    """
    inside = [i for i, (a, b) in enumerate(offsets) if a < stop and b > start]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)
