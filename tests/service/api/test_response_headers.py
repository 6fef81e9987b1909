from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from blockrank_server.service.api.response_headers import (
    CACHED_HEADER,
    DESCRIPTIONS,
    WARNING_HEADER,
)

if TYPE_CHECKING:
    from tests.service.conftest import FakeRanker, MakeClient

COHERE: dict[str, Any] = {
    "query": "capital of France",
    "documents": ["Paris", {"text": "b", "title": "cd"}],
}
TEI: dict[str, Any] = {"query": "capital of France", "texts": ["Paris", "b"]}


@pytest.mark.parametrize("body", [COHERE, TEI], ids=["cohere", "tei"])
def test_a_ranking_says_what_made_it(client: TestClient, body: dict[str, Any]) -> None:
    headers = client.post("/rerank", json=body).headers
    assert set(DESCRIPTIONS) - {WARNING_HEADER, CACHED_HEADER} <= {
        name for name in DESCRIPTIONS if name in headers
    }
    assert headers["x-model"] == "fake"
    assert headers["x-model-revision"] == "local"
    assert headers["x-score-type"] == "share"
    assert headers["x-compute-type"] == "cpu"
    assert WARNING_HEADER not in headers


def test_characters_and_tokens_are_counted(client: TestClient) -> None:
    response = client.post("/rerank", json=COHERE)
    assert response.headers["x-compute-characters"] == str(17 + 5 + 1 + 2)
    assert response.headers["x-compute-tokens"] == str(response.json()["usage"]["total_tokens"])


@pytest.mark.parametrize("change", [{"raw_scores": True}, {"use_activation": False}])
def test_raw_scores_are_called_so(client: TestClient, change: dict[str, bool]) -> None:
    assert client.post("/rerank", json=TEI | change).headers["x-score-type"] == "raw"


def test_times_are_whole_milliseconds_that_fit_server_timing(client: TestClient) -> None:
    headers = client.post("/rerank", json=COHERE).headers
    parts = (part.split(";dur=") for part in headers["server-timing"].split(", "))
    timing = {name: float(value) for name, value in parts}
    assert list(timing) == ["tokenize", "queue", "infer", "total"]
    assert all(value >= 0 for value in timing.values())
    assert timing["tokenize"] + timing["queue"] + timing["infer"] <= timing["total"] + 0.02
    names = {"tokenization": "tokenize", "queue": "queue", "inference": "infer", "total": "total"}
    for name, stage in names.items():
        assert abs(int(headers[f"x-{name}-time"]) - timing[stage]) <= 1.01
    assert headers["x-compute-time"] == headers["x-total-time"]


@pytest.mark.parametrize(
    ("device", "revision", "name", "expected"),
    [
        ("cuda:1", "abc", "a/b", ("gpu+optimized", "abc", "a/b")),
        ("cpu", None, "Zoë\n模", ("cpu", "local", "Zo%C3%AB%0A%E6%A8%A1")),
    ],
)
def test_what_was_opened(
    make_client: "MakeClient",
    fake_ranker: "type[FakeRanker]",
    device: str,
    revision: str | None,
    name: str,
    expected: tuple[str, str, str],
) -> None:
    ranker = fake_ranker()
    ranker.card = ranker.card.model_copy(update={"name": name})
    ranker.info = replace(ranker.info, device=device, revision=revision)
    with make_client(ranker) as client:
        headers = client.post("/rerank", json=COHERE).headers
    found = (headers["x-compute-type"], headers["x-model-revision"], headers["x-model"])
    assert found == expected


def test_an_error_has_none_of_them(client: TestClient) -> None:
    headers = client.post("/rerank", json=COHERE | {"query": ""}).headers
    assert not [name for name in DESCRIPTIONS if name in headers]
