"""A deterministic ranker without a model, and the app on top of it."""

import re
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from starlette.testclient import TestClient

from blockrank_server.models.checkpoint.card import Card
from blockrank_server.models.document_cache.document_cache import CacheStats
from blockrank_server.models.engine.finished_scores import FinishedScores
from blockrank_server.models.errors import InputTooLongError
from blockrank_server.models.prompt.request import EncodedRequest, check_query, titles_and_texts
from blockrank_server.models.prompt.tokenizer import Token
from blockrank_server.service.api.app import create_app
from blockrank_server.service.settings import Settings

if TYPE_CHECKING:
    from blockrank_server.models.ranker import Ranker


@dataclass(frozen=True)
class FakeInfo:
    name: str = "fake"
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    attention: str = "torch"
    num_layers_kept: int = 1
    num_layers: int = 2
    load_seconds: float = 0.0
    weight_bytes: int = 1
    cuda_graph_bytes: int = 0
    max_batch_tokens: int | None = None
    quantization: str = "none"
    engine: str = "local"
    readings: str = "exact"


def fake_card(max_documents: int = 1000) -> Card:
    return Card.model_validate(
        {
            "card_version": 1,
            "name": "fake",
            "mask": "block",
            "prompt": PROMPT | {"tail": [{"text": "{query}"}]},
            "positions": {"documents": "shared", "tail_offset": 1000},
            "read": [{"layer": 0, "heads": "all"}],
            "signal": {"tokens": "query"},
            "normalise_over": "documents",
            "reduce_heads": "mean",
            "limits": LIMITS | {"max_documents": max_documents},
            "reusable_documents": True,
        }
    )


def token(word: str) -> int:
    return zlib.crc32(word.encode()) & 0x7FFFFFFF


class FakeRanker:
    """Words are tokens; a document's score is its share of the words it has in common."""

    def __init__(
        self,
        *,
        max_documents: int = 1000,
        max_score: float = 1.0,
        before_score: Callable[[Sequence[EncodedRequest]], None] = lambda batch: None,
    ) -> None:
        self.card = fake_card(max_documents)
        self.info = FakeInfo()
        self.max_score = max_score
        self.before_score = before_score
        self.batches: list[int] = []
        self.is_warm = False

    def warm_up(self) -> tuple[tuple[int, float], tuple[int, float]]:
        self.is_warm = True
        return (10, 0.0), (100, 0.0)

    documents = None
    chunker = None

    def document_cache_stats(self) -> CacheStats:
        return CacheStats()

    def encode(
        self,
        query: str,
        documents: Sequence[str | Mapping[str, str]],
        *,
        max_document_tokens: int | None = None,
        max_query_tokens: int | None = None,
        truncate: bool = True,
        summary: str = "",
        instruction: str = "",
        cache_salt: str = "",
        explain: bool = False,
    ) -> EncodedRequest:
        limits = self.card.limits
        check_query(query)
        pairs = titles_and_texts(documents, max_documents=limits.max_documents)
        max_document = min(limits.max_document_tokens, max_document_tokens or 10**9)
        max_query = min(limits.max_query_tokens, max_query_tokens or 10**9)
        words = [f"{title} {text}".split() for title, text in pairs]
        cut = tuple(i for i, row in enumerate(words) if len(row) > max_document)
        if cut and not truncate:
            field = f"documents[{cut[0]}]"
            message = f"{field} is longer than {max_document} tokens, and truncation is off"
            raise InputTooLongError(message, field=field, limit=max_document)
        return encoded(
            [row[:max_document] for row in words],
            query.split()[:max_query],
            truncated=cut,
            query_truncated=len(query.split()) > max_query,
        )

    def tokenize(self, text: str) -> list[Token]:
        return [Token(token(m[0]), *m.span()) for m in re.finditer(r"\S+", text)]

    def device_memory(self) -> tuple[int, int]:
        return 3, 10

    def start(
        self, batch: Sequence[EncodedRequest], between_steps: Callable[[], None] | None = None
    ) -> "FinishedScores":
        self.batches.append(len(batch))
        self.before_score(batch)
        rows = [[self.max_score * share for share in shares(request)] for request in batch]
        return FinishedScores(rows)

    def score(self, batch: Sequence[EncodedRequest]) -> list[list[float]]:
        return self.start(batch).result()


def encoded(
    documents: Sequence[Sequence[str]],
    query: Sequence[str],
    truncated: tuple[int, ...] = (),
    query_truncated: bool = False,
) -> EncodedRequest:
    ids = [[token(word) for word in row] for row in [*documents, query]]
    flat = np.array([i for row in ids for i in row], np.int32)
    stops = np.cumsum([len(row) for row in ids[:-1]], dtype=np.int32)
    spans = np.stack([stops - [len(row) for row in ids[:-1]], stops], axis=1).astype(np.int32)
    return EncodedRequest(
        token_ids=flat,
        position_ids=np.arange(len(flat), dtype=np.int32),
        num_prefix_tokens=0,
        tail_start=int(stops[-1]),
        block_spans=spans,
        scored_spans=spans,
        signal_span=(int(stops[-1]), len(flat)),
        truncated_documents=truncated,
        query_truncated=query_truncated,
    )


def shares(request: EncodedRequest) -> list[float]:
    query = set(request.token_ids[request.tail_start :].tolist())
    common = [
        1e-3 + len(query & set(request.token_ids[start:stop].tolist()))
        for start, stop in request.scored_spans
    ]
    return [float(np.float32(value / sum(common))) for value in common]


class Gate:
    """Holds the model's thread inside score until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def ranker(self) -> FakeRanker:
        return FakeRanker(before_score=self)

    def __call__(self, batch: Sequence[EncodedRequest]) -> None:
        self.entered.set()
        assert self.opened.wait(60)


def wait_until_ready(client: TestClient) -> None:
    while client.get("/readyz").status_code != 200:
        pass


PROMPT = {"tokenise": "blocks", "prefix": [], "document": [{"text": "{content}"}]}
LIMITS = {"max_document_tokens": 50, "max_query_tokens": 20}
MakeClient = Callable[..., AbstractContextManager[TestClient]]


@pytest.fixture
def settings() -> Settings:
    return Settings(max_wait_ms=0)


@pytest.fixture
def make_client(settings: Settings) -> MakeClient:
    """A client of an app on a fake ranker: make_client(ranker, max_queue_requests=1)."""

    @contextmanager
    def make(
        ranker: FakeRanker | None = None, *, is_awaited: bool = True, **changes: Any
    ) -> Iterator[TestClient]:
        changed = settings.model_copy(update=changes)
        given = ranker or FakeRanker()
        app = create_app(changed, open_ranker=lambda _: cast("Ranker", given))
        with TestClient(app, raise_server_exceptions=False) as client:
            if is_awaited:
                wait_until_ready(client)
            yield client

    return make


@pytest.fixture
def client(make_client: MakeClient) -> Iterator[TestClient]:
    with make_client() as client:
        yield client


@pytest.fixture(scope="session")
def fake_ranker() -> type[FakeRanker]:
    return FakeRanker


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()
