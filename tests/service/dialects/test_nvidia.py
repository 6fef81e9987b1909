from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from blockrank_server.service.dialects.nvidia import Nvidia
from blockrank_server.service.dialects.request import RerankRequest

BODY: dict[str, Any] = {
    "model": "nvidia/llama-nemotron-rerank-1b-v2",
    "query": {"text": "q"},
    "passages": [{"text": "x"}, {"text": "y"}],
    "truncate": "END",
}


def test_the_answer_byte_by_byte(answer_bytes: Callable[..., bytes]) -> None:
    assert answer_bytes(Nvidia, BODY, "0.25", "0.75") == (
        b'{"rankings":[{"index":1,"logit":0.75},{"index":0,"logit":0.25}],'
        b'"usage":{"prompt_tokens":9,"total_tokens":9}}'
    )


def test_truncate_none_means_that_nothing_is_cut() -> None:
    assert Nvidia.read(BODY | {"truncate": "NONE"}).request() == RerankRequest(
        "q", ({"text": "x"}, {"text": "y"}), truncate=False, model=BODY["model"]
    )


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/ranking", "/ranking", "/rerank", "/v1/retrieval/nvidia/reranking"),
        "/v1/retrieval/nvidia/llama-nemotron-rerank-1b-v2/reranking",
    ],
)
def test_the_paths_its_clients_build(client: TestClient, path: str) -> None:
    answer = client.post(path, json=BODY | {"query": {"text": "y"}}).json()
    assert [ranking["index"] for ranking in answer["rankings"]] == [1, 0]


def test_an_error_names_the_passage(client: TestClient) -> None:
    body = BODY | {"passages": [{"text": ""}, {"text": "long " * 51}], "truncate": "NONE"}
    response = client.post("/v1/ranking", json=body)
    assert (response.status_code, response.json()["param"]) == (422, "passages[1]")
    response = client.post("/v1/ranking", json=BODY | {"passages": [{"text": 3}]})
    assert response.json()["detail"] == "passages[0].text is not a string"
