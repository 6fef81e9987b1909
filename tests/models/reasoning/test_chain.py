"""A chain's states, one oracle each, with tokens that mean nothing else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard
from blockrank_server.models.errors import CardError, CheckpointError
from blockrank_server.models.prompt.tokenizer import TextTokenizer
from blockrank_server.models.reasoning.caller import Caller
from blockrank_server.models.reasoning.chain import Chain, End, Reading
from blockrank_server.models.reasoning.chain_rules import ChainRules, cut_to_sentence
from blockrank_server.models.reasoning.verdict import score_of

OpenRules = Callable[..., ChainRules]


@pytest.fixture
def rules(rank1_fields: dict[str, Any], rank1_tokenizer: TextTokenizer) -> ChainRules:
    return ChainRules.of(ReasoningCard.model_validate(rank1_fields), rank1_tokenizer, [0])


def fed(rules: ChainRules, ids: list[int]) -> Chain:
    chain = Chain(rules, [1, 2, 3], Caller())
    for token in ids:
        assert chain.is_live
        chain.feed(token, -1.0, -2.0)
    return chain


def test_a_verdict_needs_its_close_right_before_it(rules: ChainRules) -> None:
    (close,) = rules.close
    assert fed(rules, [rules.yes, rules.no, close, 9, rules.yes]).is_live
    assert fed(rules, [9, close, close, rules.no]).end is End.VERDICT


def test_a_close_of_several_tokens(rules: ChainRules) -> None:
    rules = replace(rules, close=(7, 8))
    assert fed(rules, [7, 7, rules.yes, 8, rules.yes]).is_live
    chain = fed(rules, [9, 7, 8, rules.yes])
    assert chain.end is End.VERDICT
    assert chain.text == rules.text_of([9])


def test_the_end_of_a_text_is_seen_before_the_limit(rules: ChainRules) -> None:
    rules = replace(rules, max_tokens=2)
    assert fed(rules, [9, 0]).end is End.END_OF_TEXT
    assert fed(rules, [9, 9]).end is End.MAX_TOKENS
    assert fed(replace(rules, max_context=4), [9]).end is End.MAX_CONTEXT


def test_a_chain_that_is_cut_is_forced(rules: ChainRules) -> None:
    chain = fed(rules, [9, 10])
    chain.cut()
    assert chain.end is End.DEADLINE
    forced = chain.forced_ids()
    assert forced is not None
    assert forced[:3] == [1, 2, 3]
    assert forced[-1:] == list(rules.close)
    chain.force(-3.0, -1.0)
    assert (chain.reading, chain.score) == (Reading.FORCED, score_of(-3.0, -1.0))


def test_what_cannot_be_forced_gets_the_number_of_the_card(rules: ChainRules) -> None:
    chain = fed(replace(rules, max_context=5), [9, 10])
    assert chain.forced_ids() is None
    assert (chain.reading, chain.score) == (Reading.FALLBACK, 0.5)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Yes. It is so", "Yes."),
        ("  Is it? No! Per", "Is it? No!"),
        ("no end \n", "no end"),
        ("All said. \n", "All said."),
        ("", ""),
    ],
)
def test_a_chain_is_cut_back_to_a_sentence(text: str, kept: str) -> None:
    assert cut_to_sentence(text, ".!?") == kept


@pytest.mark.parametrize("far", [0.0, 1e-9, 30.0, 1e4])
def test_the_score_of_any_distance(far: float) -> None:
    assert score_of(-far, 0.0) + score_of(0.0, -far) == pytest.approx(1.0)
    assert 0.5 <= score_of(0.0, -far) <= 1.0


def test_a_word_of_several_tokens_is_refused(
    rank1_fields: dict[str, Any], rank1_tokenizer: TextTokenizer
) -> None:
    rank1_fields["verdict"]["no"] = " irrelevantly"
    card = ReasoningCard.model_validate(rank1_fields)
    with pytest.raises(CardError, match=r"verdict\.no ' irrelevantly' is \d+ tokens .* 1 is need"):
        ChainRules.of(card, rank1_tokenizer, [0])


def test_an_unknown_control_token_is_refused(
    rank1_fields: dict[str, Any], rank1_tokenizer: TextTokenizer
) -> None:
    rank1_fields["chain"]["close"] = [{"control": "</thought>"}]
    card = ReasoningCard.model_validate(rank1_fields)
    with pytest.raises(CheckpointError, match="no control token '</thought>'"):
        ChainRules.of(card, rank1_tokenizer, [0])
