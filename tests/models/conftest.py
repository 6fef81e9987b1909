"""Rankers on the tiny checkpoints of tests/fixtures, opened with any card."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.profiler import ProfilerActivity, profile

from blockrank_server.models.checkpoint.card import BUILT_IN
from blockrank_server.models.ranker import Ranker

QUERY_FREE: dict[str, Any] = {
    "prompt": {
        "tokenise": "blocks",
        "prefix": [
            {"control": "<s>"},
            {"control": "[INST]"},
            {
                "text": " You will be given a list of documents and then a query. Find the "
                "documents that help answer the query.\n\nDocuments:"
            },
        ],
        "document": [{"text": "\nDOCUMENT: {content} | END"}],
        "tail": [
            {"text": "\n\nQuery: {query}\nThe following document(s) can help answer the query:"},
            {"control": "[/INST]"},
            {"text": " Final Answer: "},
            {"text": "["},
        ],
    },
    "reusable_documents": True,
}

CardFields = dict[str, Any]
OpenTiny = Callable[..., Ranker]


@pytest.fixture(scope="session")
def query_free() -> CardFields:
    """What the golden layout query_free changes in BlockRank's card."""
    return QUERY_FREE


@pytest.fixture
def blockrank_card() -> CardFields:
    """BlockRank's built-in card, with a read layer the tiny checkpoint has."""
    return _fields("quicktensor--blockrank-msmarco-mistral-7b", [{"layer": 4, "heads": "all"}])


@pytest.fixture
def qrranker_card() -> CardFields:
    """QRRanker's built-in card, with heads the tiny checkpoint has."""
    return _fields(
        "MindscapeRAG--QRRanker", [{"layer": 2, "heads": [1]}, {"layer": 5, "heads": [2, 1]}]
    )


def _fields(stem: str, read: list[dict[str, Any]]) -> CardFields:
    fields: CardFields = json.loads((BUILT_IN / f"{stem}.json").read_text())
    return fields | {"read": read}


@pytest.fixture
def open_tiny(tmp_path: Path, fixtures: Path) -> OpenTiny:
    """Open a tiny checkpoint ("blockrank", "qrranker" or a folder) with a card given as fields."""

    def open_(checkpoint: str | Path, card: CardFields, **options: Any) -> Ranker:
        path = tmp_path / "card.json"
        path.write_text(json.dumps(card))
        return Ranker.open(fixtures / checkpoint, card=path, **({"device": "cpu"} | options))

    return open_


@pytest.fixture(scope="session")
def peak_bytes() -> Callable[[Callable[[], object]], int]:
    """Most bytes allocated at a time on the CPU by a call, by the profiler's log."""

    def measure(call: Callable[[], object]) -> int:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
            call()
        results: Any = found.profiler
        now = most = 0
        for event in sorted(results.kineto_results.events(), key=lambda event: event.start_ns()):
            if event.name() == "[memory]":
                now += event.nbytes()
                most = max(most, now)
        return most

    return measure
