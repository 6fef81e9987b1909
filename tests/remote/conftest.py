"""A ranker whose chains rank1's tiny checkpoint writes behind HTTP."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from blockrank_server.models.checkpoint.card import BUILT_IN
from blockrank_server.models.remote.engine_settings import EngineSettings
from blockrank_server.models.remote_ranker import RemoteRanker
from remote_kit.completions_server import CompletionsServer, running
from remote_kit.tiny_model import TinyModel

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "fixtures/rank1/cases.jsonl").read_text().splitlines()
]
Connect = Callable[..., RemoteRanker]
MakeCard = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_models(fixtures: Path) -> Callable[[str], TinyModel]:
    """By the name of the fixture."""
    made: dict[str, TinyModel] = {}

    def model(name: str = "rank1") -> TinyModel:
        if name not in made:
            made[name] = TinyModel(fixtures / name)
        return made[name]

    return model


@pytest.fixture
def server(tiny_models: Callable[[str], TinyModel]) -> CompletionsServer:
    return CompletionsServer(tiny_models("rank1"))


@pytest.fixture
def url(server: CompletionsServer, one_thread: None) -> Iterator[str]:
    with running(server) as address:
        yield address


@pytest.fixture
def make_card(tmp_path: Path) -> MakeCard:
    """The card of rank1-7b with limits that the tiny checkpoint has room for."""

    def make(max_tokens: int = 24, max_context: int = 1024) -> Path:
        fields: dict[str, Any] = json.loads((BUILT_IN / "jhu-clsp--rank1-7b.json").read_bytes())
        fields["chain"] |= {"max_tokens": max_tokens, "max_context": max_context}
        fields["limits"] |= {"max_document_tokens": 64, "max_query_tokens": 32}
        path = tmp_path / "card.json"
        path.write_text(json.dumps(fields))
        return path

    return make


@pytest.fixture
def connect(url: str, fixtures: Path, make_card: MakeCard) -> Iterator[Connect]:
    """Connect a ranker to the server: connect(max_streams=2, max_tokens=900)."""
    with ExitStack() as stack:

        def make(*, max_tokens: int = 24, **options: Any) -> RemoteRanker:
            ranker = RemoteRanker.connect(
                fixtures / "rank1",
                EngineSettings(**({"url": url} | options)),
                card=make_card(max_tokens),
            )
            stack.callback(ranker.close)
            return ranker

        yield make


@pytest.fixture
def cases() -> list[dict[str, Any]]:
    return CASES
