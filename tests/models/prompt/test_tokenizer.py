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
