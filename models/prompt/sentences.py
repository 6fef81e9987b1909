"""Splits text into sentences by a few rules, the same for every language.

A sentence ends behind . ! ? ... and their like in other scripts where white space or the end of the
text follows, behind the full-width ones of Chinese and Japanese whatever follows, and at a blank
line. Quotes and brackets that close behind it belong to it. A full stop ends nothing behind a
single letter ("J. Smith", "e.g. this") or one of a few English abbreviations.

Its limits: other abbreviations end a sentence, "plan B. Then" is one sentence, and text without
these characters, such as Thai, code or a table, is one sentence as far as the next blank line.
"""

import re

_ENDS = ".!?…‼⁇⁈⁉؟۔।॥։።፧፨᙮။"
_WIDE_ENDS = "。！？｡．"
_CLOSERS = "\"'”’»›)\\]}”」』】）〉》］｝"
# Each run of them is tried once, from its first character, so that a long one takes no long time.
_END = re.compile(
    rf"(?<![{_ENDS}])[{_ENDS}]++[{_CLOSERS}]*+(?=\s|\Z)"
    rf"|(?<![{_WIDE_ENDS}])[{_WIDE_ENDS}]++[{_CLOSERS}]*+"
    r"|\n(?=[^\S\n]*+\n)"
)
_SPACE = re.compile(r"\s*+")
_LAST_WORD = re.compile(r"\w+\Z")
_ABBREVIATIONS = frozenset(
    [
        *("mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "gen", "col", "sgt", "rev", "hon"),
        *("vs", "cf", "al", "fig", "figs", "eq", "eqs", "vol", "pp", "ed", "eds", "approx"),
        *("jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"),
    ]
)
_MAX_ABBREVIATION = 8  # characters in front of a full stop that are looked at


def sentence_spans(text: str, max_sentences: int) -> list[tuple[int, int]]:
    """Find where sentences start and stop, in characters, without the white space around them.

    Args:
        max_sentences: the last one of so many holds all the rest; at least 1.
    """
    spans: list[tuple[int, int]] = []
    start, stop = len(text) - len(text.lstrip()), len(text.rstrip())
    for match in _END.finditer(text):
        if len(spans) == max_sentences - 1:
            break
        if _is_abbreviated(text, match):
            continue
        end = min(match.end(), stop)
        if not (sentence := text[start:end].rstrip()):
            continue
        spans.append((start, start + len(sentence)))
        start = first_character(text, end)
    if start < stop:
        spans.append((start, stop))
    return spans


def first_character(text: str, start: int) -> int:
    """Find the first character from start on that is not white space."""
    match = _SPACE.match(text, start)
    assert match is not None  # it matches nothing, too
    return match.end()


def _is_abbreviated(text: str, match: re.Match[str]) -> bool:
    """Say whether an end is the full stop of an abbreviation."""
    if match[0] != ".":
        return False
    end = match.start()
    found = _LAST_WORD.search(text[max(0, end - _MAX_ABBREVIATION) : end])
    if found is None:
        return False
    word = found[0]
    return (len(word) == 1 and word.isalpha()) or word.lower() in _ABBREVIATIONS
