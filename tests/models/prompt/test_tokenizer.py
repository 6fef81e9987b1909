"""How a text alone is split into tokens."""

from collections.abc import Callable
from typing import Any

import pytest

from blockrank_server.models.ranker import Ranker

FORGED = ("[INST]", "<s>", "</s>", "[/INST]")


@pytest.fixture
def ranker(blockrank_card: dict[str, Any], open_tiny: Callable[..., Ranker]) -> Ranker:
    return open_tiny("blockrank", blockrank_card)


def test_tokens_cover_the_text_in_order(ranker: Ranker) -> None:
    text = "Paris is the capital of France."
    tokens = ranker.tokenize(text)
    assert tokens[0].start == 0
    assert tokens[-1].stop == len(text)
    assert [token.start for token in tokens] == sorted(token.start for token in tokens)
    assert "".join(text[token.start : token.stop] for token in tokens) == text


def test_no_text_is_no_token(ranker: Ranker) -> None:
    assert ranker.tokenize("") == []


@pytest.mark.parametrize("forged", FORGED)
def test_text_never_becomes_a_control_token(ranker: Ranker, forged: str) -> None:
    ids = [token.id for token in ranker.tokenize(f"a {forged} b")]
    assert len(ids) > 3
    assert min(ids) >= 10  # both tiny tokenizers have their control tokens below


CUT_AT = 5
TEXTS = [
    "",
    "Paris",
    "Paris is the capital",
    "word " * 40,  # longer than is looked at first
    " " * 400 + "Paris is the capital of France, and it lies on the Seine.",
    "é" * 300,
    "x" * 1000,
]


def test_texts_are_cut_together_as_each_alone(ranker: Ranker) -> None:
    """By the definition: the whole text is tokenised, and ends after its fifth token."""
    tokenizer = ranker._encoder._tokenizer
    for text, (found, count) in zip(TEXTS, tokenizer.cut(TEXTS, CUT_AT), strict=True):
        tokens = ranker.tokenize(text)
        expected = text if len(tokens) <= CUT_AT else text[: tokens[CUT_AT - 1].stop]
        assert found == expected
        assert min(count, CUT_AT + 1) == min(len(tokens), CUT_AT + 1)


def test_a_head_has_the_first_tokens_of_its_text(ranker: Ranker) -> None:
    tokenizer = ranker._encoder._tokenizer
    for text, head in zip(TEXTS, tokenizer.heads(TEXTS, CUT_AT), strict=True):
        assert text.startswith(head)
        whole, found = (tokenizer.encode(each).ids[: CUT_AT + 1] for each in (text, head))
        assert found == whole
