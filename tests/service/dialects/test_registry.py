from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from blockrank_server.service.dialects.registry import ROUTES
from blockrank_server.service.dialects.shapes import BY_BODY, SHAPES

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
COHERE = {"query": "q", "documents": ["x"]}
TEI = {"query": "q", "texts": ["x"]}

# Protocols 5.1, said a second time: the shape of a body of shape a there.
SHARED = ("/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking", "/invocations", "/")
PINNED = {
    "/cohere/v1/rerank": "a",
    "/cohere/v2/rerank": "a",
    "/infinity/rerank": "a-inf",
    "/tei/rerank": "b",
    "/weaviate/rerank": "c",
    "/ranking": "d",
    "/v1/ranking": "d",
    "/v1/retrieval/nvidia/reranking": "d",
    "/v1/retrieval/a/b/reranking": "d",
    "/voyage/v1/rerank": "e",
    "/mixedbread/v1/reranking": "f",
    "/sglang/v1/rerank": "g",
    "/rank_llm/v1/rerank": "h",
    "/score": "i",
    "/v1/score": "i",
    "/pinecone/rerank": "j",
}


def line_of(client: TestClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    with capture_logs() as lines:
        client.post(path, json=body)
    [line] = [dict(line) for line in lines if line["event"] == "request"]
    return line


@pytest.mark.parametrize("path", SHARED)
def test_the_body_chooses_on_shared_paths(client: TestClient, path: str) -> None:
    found = [line_of(client, path, body) for body in (COHERE, TEI)]
    assert [(line["shape"], line["status"]) for line in found] == [("a", 200), ("b", 200)]


@pytest.mark.parametrize("path", PINNED)
def test_the_path_chooses_on_pinned_paths(client: TestClient, path: str) -> None:
    assert [line_of(client, path, body)["shape"] for body in (COHERE, TEI)] == [PINNED[path]] * 2


def test_every_shape_has_one_path_of_its_own() -> None:
    pinned = [route.shapes[0] for route in ROUTES if len(route.shapes) == 1]
    assert sorted(shape.name for shape in pinned) == sorted(shape.name for shape in SHAPES)
    assert [route.shapes for route in ROUTES if len(route.shapes) > 1] == [BY_BODY]


def test_the_readme_names_every_path() -> None:
    for route in ROUTES:
        for path in (route.path, *route.aliases):
            assert f"`{path.replace(':path', '')}`" in README


def test_a_log_line_holds_the_route_and_never_the_path(client: TestClient) -> None:
    line = line_of(client, "/v1/retrieval/secret/reranking", COHERE)
    assert line["route"] == "/v1/retrieval/{rest:path}/reranking"
