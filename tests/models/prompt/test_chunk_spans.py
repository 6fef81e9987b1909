"""Where a text is cut into chunks: at sentence ends, with overlap, exactly."""

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from blockrank_server.models.prompt import chunk_spans as module
from blockrank_server.models.prompt.chunk_spans import TokenEdges, chunk_spans


def words(text: str) -> Any:
    """Tokenise: a word with the space before it is a token, and a long one is several."""
    return SimpleNamespace(offsets=[m.span() for m in re.finditer(r"\s*\S{1,5}", text)])


def characters(text: str) -> Any:
    """Tokenise: each character is two tokens, as one that is not in a vocabulary may be."""
    return SimpleNamespace(offsets=[(i, i + 1) for i in range(len(text)) for _ in range(2)])


def cut(text: str, max_tokens: int, encode: Callable[[str], Any] = words) -> list[str]:
    tokens, num_read = TokenEdges.read(text, encode, 10**9)
    assert num_read == len(text)
    spans = chunk_spans(text, tokens, max_tokens)
    assert [text[start:stop].strip() for start, stop in spans] == [text[a:b] for a, b in spans]
    covered = {i for start, stop in spans for i in range(start, stop)}
    assert all(i in covered or text[i].isspace() for i in range(len(text)))
    assert spans == sorted(spans)
    return [text[start:stop] for start, stop in spans]


def test_cuts_stand_at_sentence_ends_and_one_sentence_is_repeated() -> None:
    text = "  A b c1. D e f!\n\nG h i? J k l2. M n o3.  "
    assert cut(text, 7) == [
        "A b c1. D e f!",
        "D e f!\n\nG h i?",
        "G h i? J k l2.",
        "J k l2. M n o3.",
    ]
    assert cut(text, 9) == ["A b c1. D e f!\n\nG h i?", "G h i? J k l2. M n o3."]
    assert cut(text, 100) == [text.strip()]


def test_a_sentence_of_more_than_half_a_chunk_is_not_repeated() -> None:
    found = cut("A b c d1. E f g2. H i j k3. L m n4.", 7)
    assert found == ["A b c d1. E f g2.", "E f g2. H i j k3.", "L m n4."]
    assert cut("A b c d1. E f g h2. I j k l3.", 7) == ["A b c d1.", "E f g h2.", "I j k l3."]


def test_a_sentence_that_fits_no_chunk_is_cut_between_words() -> None:
    found = cut("a b c d e f g h i j k l m n o2. Next one.", 8)
    assert found == [
        "a b c d e f g h",
        "g h i j k l m n",  # a quarter of a chunk is repeated
        "m n o2. Next one.",
    ]


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 8, 64])
def test_one_giant_word_is_cut_between_tokens(max_tokens: int) -> None:
    text = "x" * 2001
    found = cut(text, max_tokens)
    assert all(len(each) <= 5 * max_tokens for each in found)
    assert len(found) > 2001 // (5 * max_tokens)


@pytest.mark.parametrize("max_tokens", [1, 2, 5, 9])
def test_no_character_is_cut_into(max_tokens: int) -> None:
    text = "你好。 𝔘𝔫𝔦 naïve 🙂🙂 ok! ไทยไทยไทย"
    found = cut(text, max_tokens, characters)
    assert all(2 * len(each) <= max(2, max_tokens) for each in found)


@pytest.mark.parametrize("text", ["", " \n "])
def test_nothing_has_no_chunk(text: str) -> None:
    assert cut(text, 5) == []


def test_reading_stops_behind_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLICE_CHARACTERS", 10)
    text = "a b c d e f g h i j k l m n o p q r s t u v w x y z"
    tokens, num_read = TokenEdges.read(text, words, 7)
    assert (len(tokens.starts_T), num_read) == (10, 20)
    whole, num_read = TokenEdges.read(text, words, 100)
    assert num_read == len(text)
    assert whole.stops_T.tolist() == [stop for _, stop in words(text).offsets]
