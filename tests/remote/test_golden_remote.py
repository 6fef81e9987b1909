"""The remote engine: rank1's golden cases, by each reading that a server may give."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.checkpoint.reasoning_card import ReasoningCard
from blockrank_server.models.prompt.tokenizer import TextTokenizer
from blockrank_server.models.reasoning.caller import Caller
from blockrank_server.models.reasoning.chain import Chain, End
from blockrank_server.models.reasoning.chain_pace import ChainPace
from blockrank_server.models.reasoning.chain_rules import ChainRules
from blockrank_server.models.remote.client import CompletionsClient
from blockrank_server.models.remote.handshake import Agreement
from blockrank_server.models.remote.loop_thread import LoopThread
from blockrank_server.models.remote.remote_engine import RemoteEngine
from remote_kit.completions_server import CompletionsServer
from remote_kit.live import running
from remote_kit.tiny_model import TinyModel

ENDS = {
    "stop": End.VERDICT,
    "eos": End.END_OF_TEXT,
    "length": End.MAX_TOKENS,
    "context": End.MAX_CONTEXT,
}

pytestmark = pytest.mark.usefixtures("one_thread")


async def _client(url: str) -> CompletionsClient:
    client = CompletionsClient(url, None)
    client.model = "tiny"
    return client


def check(want: dict[str, Any], reading: str, chain: Chain) -> None:
    assert chain.ids == want["generated_ids"]
    assert chain.end == ENDS[want["finish"]]
    assert chain.text == want["chain"]
    assert chain.reading == want[reading]["ended"]
    assert chain.score == pytest.approx(want[reading]["score"], abs=1e-5)


@pytest.mark.parametrize("folder", ["rank1", "rank1-awq"])
@pytest.mark.parametrize("reading", ["exact", "top20"])
@pytest.mark.parametrize("max_streams", [1, 3, 128])
def test_golden(
    folder: str,
    reading: Any,
    max_streams: int,
    fixtures: Path,
    make_card: Callable[..., Path],
    cases: list[dict[str, Any]],
    tiny_models: Callable[[str], TinyModel],
) -> None:
    key = "expected" if folder == "rank1" else "expected_awq"
    tokenizer = TextTokenizer(fixtures / folder / "tokenizer.json")
    chains = []
    for case in cases:
        card = make_card(case["max_new_tokens"], 4096).read_text()
        fields = ReasoningCard.model_validate_json(card)
        limits = fields.chain.model_copy(update={"max_context": case["max_context"]})
        rules = ChainRules.of(fields.model_copy(update={"chain": limits}), tokenizer, [0])
        chains.append(Chain(rules, case[key]["prompt_ids"], Caller()))
    server = CompletionsServer(tiny_models(folder))
    with running(server.app()) as url:
        loop = LoopThread("engine")
        client = loop.start(_client(url)).result()
        engine = RemoteEngine(
            loop,
            client,
            Agreement("tiny", reading, "/health"),
            ChainPace(),
            tokenizer.num_tokens,
            max_streams,
        )
        try:
            engine.finish(chains)
        finally:
            engine.close()
    for case, chain in zip(cases, chains, strict=True):
        check(case[key], reading, chain)
    assert server.most_open <= max_streams
    assert server.num_open == 0
