"""A ranker whose chains rank1's tiny checkpoint writes behind HTTP."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI

from blockrank_server.models.checkpoint.card import BUILT_IN
from blockrank_server.models.remote.engine_settings import EngineSettings
from blockrank_server.models.remote_ranker import RemoteRanker
from blockrank_server.service.api.app import create_app
from blockrank_server.service.open_ranker import open_served_ranker
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.any_ranker import AnyRanker
from starlette.testclient import TestClient

from remote_kit.completions_server import CompletionsServer
from remote_kit.live import running
from remote_kit.tiny_model import TinyModel

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "fixtures/rank1/cases.jsonl").read_text().splitlines()
]
Connect = Callable[..., RemoteRanker]
MakeCard = Callable[..., Path]
Serve = Callable[..., AbstractContextManager[TestClient]]


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
    with running(server.app()) as address:
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


@pytest.fixture
def make_app(url: str, fixtures: Path, make_card: MakeCard) -> Iterator[Callable[..., FastAPI]]:
    """The app: make_app(max_tokens=900, engine_max_streams=2); is_local for a local engine."""
    opened: list[AnyRanker] = []

    def make(*, max_tokens: int = 24, is_local: bool = False, **changes: Any) -> FastAPI:
        settings = Settings(
            **{
                "model": str(fixtures / "rank1"),
                "card": str(make_card(max_tokens)),
                "engine_url": None if is_local else url,
                "device": "cpu",
                "max_wait_ms": 0,
                **changes,
            }
        )

        def open_(settings: Settings) -> "AnyRanker":
            opened.append(open_served_ranker(settings))
            return opened[-1]

        return create_app(settings, open_)

    yield make
    for each in opened:
        if isinstance(each, RemoteRanker):
            each.close()


@pytest.fixture
def serve(make_app: Callable[..., FastAPI]) -> Serve:
    """A client of the app, once it is ready, by what make_app takes."""

    @contextmanager
    def make(**options: Any) -> Iterator[TestClient]:
        with TestClient(make_app(**options), raise_server_exceptions=False) as client:
            while client.get("/readyz").status_code != 200:
                time.sleep(0.01)
            yield client

    return make
