"""Which dialect is spoken on which path."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from blockrank_server.service.dialects.registry import ROUTES

PAGE = (Path(__file__).parents[3] / "deploy/dialects.md").read_text(encoding="utf-8")
COHERE = {"query": "q", "documents": ["x"]}
TEI = {"query": "q", "texts": ["x"]}

# Which dialect a path is for, said a second time.
SHARED = ("/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking", "/invocations", "/")
PINNED = {
    "/cohere/v1/rerank": "cohere",
    "/cohere/v2/rerank": "cohere",
    "/infinity/rerank": "infinity",
    "/tei/rerank": "tei",
    "/weaviate/rerank": "weaviate",
    "/ranking": "nvidia",
    "/v1/ranking": "nvidia",
    "/v1/retrieval/nvidia/reranking": "nvidia",
    "/v1/retrieval/a/b/reranking": "nvidia",
    "/voyage/v1/rerank": "voyage",
    "/mixedbread/v1/reranking": "mixedbread",
    "/sglang/v1/rerank": "sglang",
    "/rank_llm/v1/rerank": "rank_llm",
    "/score": "vllm_score",
    "/v1/score": "vllm_score",
    "/pinecone/rerank": "pinecone",
}


def line_of(client: TestClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    with capture_logs() as lines:
        client.post(path, json=body)
    [line] = [dict(line) for line in lines if line["event"] == "request"]
    return line


@pytest.mark.parametrize("path", SHARED)
def test_the_body_chooses_on_shared_paths(client: TestClient, path: str) -> None:
    found = [line_of(client, path, body) for body in (COHERE, TEI)]
    assert [(line["dialect"], line["status"]) for line in found] == [("cohere", 200), ("tei", 200)]


@pytest.mark.parametrize("path", PINNED)
def test_the_path_chooses_on_pinned_paths(client: TestClient, path: str) -> None:
    assert [line_of(client, path, body)["dialect"] for body in (COHERE, TEI)] == [PINNED[path]] * 2


def test_the_page_on_dialects_names_every_path() -> None:
    for route in ROUTES:
        for path in (route.path, *route.aliases):
            assert f"`{path.replace(':path', '')}`" in PAGE
