"""rank1's golden cases at the level of tokens, without a network."""

import json
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard
from blockrank_server.models.prompt.tokenizer import TextTokenizer
from blockrank_server.models.reasoning.caller import Caller
from blockrank_server.models.reasoning.chain import Chain, End, Reading
from blockrank_server.models.reasoning.chain_rules import ChainRules
from blockrank_server.models.reasoning.pair_encoder import PairEncoder

CASES = Path(__file__).parents[2] / "fixtures" / "rank1" / "cases.jsonl"
ENDS = {
    "stop": End.VERDICT,
    "eos": End.END_OF_TEXT,
    "length": End.MAX_TOKENS,
    "context": End.MAX_CONTEXT,
}


def cases() -> list[Any]:
    return [
        pytest.param(case, expected, id=f"{case['name']}-{expected}")
        for case in map(json.loads, CASES.read_text().splitlines())
        for expected in ("expected", "expected_awq")
    ]


@pytest.mark.parametrize(("case", "expected"), cases())
def test_prompt_chain_and_forced_tokens(
    case: dict[str, Any], expected: str, case_card: Any, rank1_tokenizer: TextTokenizer
) -> None:
    card: ReasoningCard = case_card(case)
    want = case[expected]
    encoder = PairEncoder(card, rank1_tokenizer, 4096)
    request = encoder.encode(case["query"], [case["passage"]])
    [prompt] = request.prompts()
    assert prompt == want["prompt_ids"]

    chain = Chain(ChainRules.of(card, rank1_tokenizer, [0]), prompt, Caller())
    last = want["last"]
    for token in want["generated_ids"]:
        assert chain.is_live
        chain.feed(token, last["true_logprob"], last["false_logprob"])
    assert chain.end == ENDS[want["finish"]]
    assert chain.text == want["chain"]

    forced = chain.forced_ids()
    if forced is not None:
        assert forced == want["forced_ids"]
        chain.force(want["forced"]["true_logprob"], want["forced"]["false_logprob"])
    assert chain.reading is Reading(want["exact"]["ended"])
    assert chain.score == pytest.approx(want["exact"]["score"], abs=1e-6)
