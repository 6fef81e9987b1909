"""The local engine of reasoning: rank1's golden cases, and plain transformers."""

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from blockrank_server.models.checkpoint.card import BUILT_IN
from blockrank_server.models.checkpoint.model_config import load_model_config
from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard
from blockrank_server.models.engine.chain_engine import ChainEngine
from blockrank_server.models.engine.decoder_loading import load_decoder
from blockrank_server.models.prompt.tokenizer import TextTokenizer
from blockrank_server.models.reasoning.caller import Caller
from blockrank_server.models.reasoning.chain import Chain, End, Reading
from blockrank_server.models.reasoning.chain_pace import ChainPace
from blockrank_server.models.reasoning.chain_rules import ChainRules

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "fixtures/rank1/cases.jsonl").read_text().splitlines()
]
ENDS = {
    "stop": End.VERDICT,
    "eos": End.END_OF_TEXT,
    "length": End.MAX_TOKENS,
    "context": End.MAX_CONTEXT,
}
CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


def engine_of(folder: Path, max_tokens: int = 100_000) -> ChainEngine:
    decoder = load_decoder(folder, load_model_config(folder), CPU, torch.float32)
    num_vocabulary = TextTokenizer(folder / "tokenizer.json").num_tokens
    return ChainEngine(decoder, ChainPace(), num_vocabulary, max_tokens)


def chains_of(folder: Path, cases: Sequence[dict[str, Any]], expected: str) -> list[Chain]:
    fields = json.loads((BUILT_IN / "jhu-clsp--rank1-7b.json").read_text())
    tokenizer = TextTokenizer(folder / "tokenizer.json")
    chains = []
    for case in cases:
        fields["chain"] |= {
            "max_tokens": case["max_new_tokens"],
            "max_context": case["max_context"],
        }
        rules = ChainRules.of(ReasoningCard.model_validate(fields), tokenizer, [0])
        chains.append(Chain(rules, case[expected]["prompt_ids"], Caller()))
    return chains


def check(case: dict[str, Any], expected: str, chain: Chain) -> None:
    want = case[expected]
    assert chain.ids == want["generated_ids"]
    assert chain.end == ENDS[want["finish"]]
    assert chain.text == want["chain"]
    assert chain.reading == want["exact"]["ended"]
    assert chain.score == pytest.approx(want["exact"]["score"], abs=1e-5)
    if want["exact"]["ended"] != "fallback":
        read = want["last" if want["finish"] == "stop" else "forced"]
        found = [chain.yes_logprob, chain.no_logprob]
        assert found == pytest.approx([read["true_logprob"], read["false_logprob"]], abs=1e-4)


@pytest.mark.parametrize("folder", ["rank1", "rank1-awq"])
@pytest.mark.parametrize("max_tokens", [100_000, 300, 1], ids=["at once", "some", "one by one"])
def test_golden(folder: str, max_tokens: int, fixtures: Path) -> None:
    expected = "expected" if folder == "rank1" else "expected_awq"
    chains = chains_of(fixtures / folder, CASES, expected)
    engine_of(fixtures / folder, max_tokens).finish(chains)
    for case, chain in zip(CASES, chains, strict=True):
        check(case, expected, chain)


FAMILIES: dict[str, dict[str, Any]] = {
    "llama, tied": {"model_type": "llama", "tie_word_embeddings": True},
    "mistral": {"model_type": "mistral", "sliding_window": None},
    "qwen3": {"model_type": "qwen3", "head_dim": 24},
}


@pytest.fixture(params=FAMILIES)
def random_checkpoint(request: pytest.FixtureRequest, fixtures: Path, tmp_path: Path) -> Path:
    """A random checkpoint of another family, with rank1's tiny tokenizer, as transformers saves."""
    fields = FAMILIES[request.param]
    config = CONFIG_MAPPING[fields["model_type"]](
        vocab_size=3859,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.4,
        **{name: value for name, value in fields.items() if name != "model_type"},
    )
    torch.manual_seed(3)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    shutil.copy(fixtures / "rank1" / "tokenizer.json", tmp_path)
    return tmp_path


def test_chains_are_those_of_plain_transformers(random_checkpoint: Path) -> None:
    cases = [
        case | {"max_new_tokens": n}
        for case, n in zip(CASES[:6], (3, 20, 7, 20, 1, 12), strict=True)
    ]
    chains = chains_of(random_checkpoint, cases, "expected")
    engine_of(random_checkpoint).finish(chains)
    model = AutoModelForCausalLM.from_pretrained(random_checkpoint, dtype=torch.float32).eval()
    for case, chain in zip(cases, chains, strict=True):
        prompt = torch.tensor([chain.prompt_ids])
        found = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=case["max_new_tokens"],
            do_sample=False,
            eos_token_id=0,
            pad_token_id=0,
        )
        assert chain.ids == found[0, len(chain.prompt_ids) :].tolist()
        if chain.end is End.MAX_TOKENS:
            forced = [*chain.prompt_ids, *chain.rules.forcing_ids(chain.text)]
            with torch.inference_mode():
                logprobs = model(torch.tensor([forced])).logits[0, -1].log_softmax(-1)
            yes, no = logprobs[chain.rules.yes].item(), logprobs[chain.rules.no].item()
            assert [chain.yes_logprob, chain.no_logprob] == pytest.approx([yes, no], abs=1e-4)


def test_rows_of_the_head_that_stand_for_no_token_never_win(fixtures: Path) -> None:
    engine = engine_of(fixtures / "rank1")
    head = engine._decoder.lm_head.weight
    with torch.no_grad():
        head[3859:] = 50 * head[:109]
    chains = chains_of(fixtures / "rank1", CASES, "expected")
    engine.finish(chains)
    assert max(token for chain in chains for token in chain.ids) < 3859


def test_a_near_deadline_forces_a_verdict(fixtures: Path) -> None:
    cut, kept = chains_of(fixtures / "rank1", [CASES[0], CASES[4]], "expected")
    cut.caller.deadline_s = time.monotonic()
    engine_of(fixtures / "rank1").finish([cut, kept])
    assert (cut.end, cut.reading, len(cut.ids)) == (End.DEADLINE, Reading.FORCED, 1)
    check(CASES[4], "expected", kept)


def test_a_deadline_that_comes_while_others_run_forces_those_that_wait(fixtures: Path) -> None:
    chains = chains_of(fixtures / "rank1", CASES[:3], "expected")
    caller = Caller()
    for chain in chains:
        chain.caller = caller

    def come() -> None:
        if chains[0].ids:
            caller.deadline_s = time.monotonic()

    engine_of(fixtures / "rank1", max_tokens=1).finish(chains, come)
    assert {chain.end for chain in chains} == {End.DEADLINE}
    assert [len(chain.ids) for chain in chains] == [2, 1, 1]
    assert all(0 < chain.score < 1 for chain in chains)


def test_chains_of_a_caller_who_has_gone_are_given_up(fixtures: Path) -> None:
    gone, kept = chains_of(fixtures / "rank1", [CASES[0], CASES[5]], "expected")
    gone.caller.is_gone = lambda: True
    engine_of(fixtures / "rank1").finish([gone, kept])
    assert (gone.reading, len(gone.ids)) == (Reading.FALLBACK, 1)
    check(CASES[5], "expected", kept)


def test_what_is_raised_between_steps_ends_the_work(fixtures: Path) -> None:
    [chain] = chains_of(fixtures / "rank1", CASES[:1], "expected")

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        engine_of(fixtures / "rank1").finish([chain], stop)
    assert not chain.ids
